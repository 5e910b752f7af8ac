"""Modules with packed weights and joined products, each made of a plain one whose place it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.preparable import InferenceOnlyError
from clapstream.clap.prepared.inference_only import InferenceOnly
from clapstream.clap.prepared.onednn import Product
from clapstream.clap.swin import ClapAudioIntermediate
from clapstream.clap.text_encoder import ClapTextIntermediate
from clapstream.clap.window_attention import (
    Attended,
    ClapAudioSelfAttention,
    attend_to_windows,
    attention_probabilities,
    score_bias,
)
from clapstream.clap.windows import WindowPlan


class PackedLinear(InferenceOnly):
    """A linear layer whose weight is packed, followed by GELU on request."""

    dissolved = frozenset({"weight", "bias"})

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self.example = linear.weight.detach().new_empty(0)
        self.gelu = gelu
        self.product = Product.prepare(linear.weight, linear.bias)
        self.packed_numbers = count(linear)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`."""
        return self.product.apply(self.accept(inputs), gelu=self.gelu)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.product.unpacked()
        if self.product.bias is not None:
            destination[prefix + "bias"] = self.product.bias.clone()


class PackedIntermediate(InferenceOnly):
    """A widening layer and its GELU in one product."""

    dissolved = frozenset({"intermediate_act_fn"})

    def __init__(self, intermediate: ClapAudioIntermediate | ClapTextIntermediate) -> None:
        super().__init__()
        self.example = intermediate.dense.weight.detach().new_empty(0)
        self.dense = PackedLinear(intermediate.dense, gelu=True)
        self.eval()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "dense" and "dense" in self._modules:
            raise InferenceOnlyError("cannot replace dense, which applies GELU too")
        super().__setattr__(name, value)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(..., channels)` -> `(..., wider)`."""
        found: Tensor = self.dense(tokens)
        return found


class PreparedSelfAttention(InferenceOnly):
    """Attention inside windows of one plan: query, key and value in one product, then PyTorch's fused kernel."""

    dissolved = frozenset({"query", "key", "value", "relative_position_bias_table", "relative_position_index"})

    def __init__(self, attention: ClapAudioSelfAttention, plan: WindowPlan) -> None:
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        self.example = attention.query.weight.detach().new_empty(0)
        self.packed_numbers = sum(map(count, parts)) + attention.relative_position_bias_table.numel()
        self.head_size = attention.query.out_features // attention.heads
        self.heads, self.side, self.plan = attention.heads, attention.side, plan
        self._table = attention.relative_position_bias_table.detach().clone()
        self._index = attention.relative_position_index.clone()
        bias = None if attention.query.bias is None else torch.cat([part.bias for part in parts])
        self.product = Product.prepare(torch.cat([part.weight for part in parts]), bias)
        fixed = score_bias(self._table, self._index, self.side, plan)
        # On the CPU at least single, because bfloat16's fused kernel is slower.
        wide = torch.promote_types(fixed.dtype, torch.float32) if fixed.device.type == "cpu" else fixed.dtype
        self._score_bias = fixed.to(wide).contiguous()
        self.eval()

    def forward(self, tokens: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Windows `(batch * windows, side * side, channels)`, before the output projection."""
        tokens = self.accept(tokens)
        is_fast = not output_attentions and plan == self.plan
        joined = self.product.apply(tokens)
        joined = joined.to(self._score_bias.dtype) if is_fast else joined
        query, key, value = (
            joined.view(*tokens.shape[:2], 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4).unbind(0)
        )
        if not is_fast:
            bias = score_bias(self._table, self._index, self.side, plan)
            probabilities = attention_probabilities(query, key, bias)
            found = probabilities.to(value.dtype) @ value
            return Attended(found.transpose(1, 2).flatten(2), probabilities)
        found = self._attend(query, key, value)
        return Attended(found.transpose(1, 2).flatten(2).to(tokens.dtype), None)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        windows = len(self._score_bias)
        if len(query) == windows:
            return functional.scaled_dot_product_attention(query, key, value, self._score_bias)
        if windows == 1 or len(query) == 0 or query.device.type != "cpu":
            return attend_to_windows(query, key, value, self._score_bias)
        # A mask repeated for each sound would cost more memory than the rest.
        sounds = zip(*(torch.split(part, windows) for part in (query, key, value)), strict=True)
        return torch.cat([self._attend(*sound) for sound in sounds])

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "relative_position_bias_table"] = self._table.clone()
        destination[prefix + "relative_position_index"] = self._index.clone()
        weight, bias = self.product.unpacked(), self.product.bias
        for part, name in enumerate(("query", "key", "value")):
            destination[f"{prefix}{name}.weight"] = weight.chunk(3)[part].clone()
            if bias is not None:
                destination[f"{prefix}{name}.bias"] = bias.chunk(3)[part].clone()


def count(linear: nn.Linear) -> int:
    """How many numbers a layer's parameters hold."""
    return sum(parameter.numel() for parameter in linear.parameters())
