"""The models' fast paths for inference: packed weights, joined products, fused attention and few copies.

Each class takes the place of a plain module, from which it is made, in `prepare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.inference_only import InferenceOnly, InferenceOnlyError, Preparable
from clapstream.clap.linear import Product
from clapstream.clap.patch_embed import ClapAudioPatchEmbed
from clapstream.clap.projection import Activation
from clapstream.clap.reorder import Reorder
from clapstream.clap.swin import ClapAudioIntermediate, ClapAudioLayer, ClapAudioStage, StageResult
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
        query, key, value = joined.view(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
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
        if windows == 1 or query.device.type != "cpu":
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


class PreparedStage(InferenceOnly):
    """A stage whose tokens stay in window order from one layer to the next where the windows divide the grid."""

    def __init__(self, stage: ClapAudioStage) -> None:
        super().__init__()
        first: Any = stage.blocks[0]
        self.example = first.layernorm_before.weight.detach().new_empty(0)
        self.blocks, self.downsample = stage.blocks, stage.downsample
        self.plans, self.unshrunk_plans = stage.plans, stage.unshrunk_plans
        self.reorders = None
        if not any(plan.is_padded for plan in stage.plans):
            self.reorders = reorders(stage.plans, self.example.device)
            self.plans = [InWindowOrder(plan.height, plan.width, plan.side, plan.shift) for plan in stage.plans]
        for layer, plan in zip(self.blocks, self.plans, strict=True):
            replace_attention(cast(ClapAudioLayer, layer).attention, plan)
        replace(self)
        self.eval()

    def forward(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> StageResult:
        """Tokens `(batch, height * width, channels)` of this stage's grid in; of the next one's out."""
        tokens = self.accept(tokens)
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            unmerged, probabilities = self._layers(tokens, output_attentions, always_partition)
            merged = unmerged if self.downsample is None else self.downsample(unmerged)
        return StageResult(merged, unmerged, probabilities)

    def _layers(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> Attended:
        probabilities = None
        if always_partition or self.reorders is None:
            plans: Sequence[WindowPlan] = self.unshrunk_plans if always_partition else self.plans
            for layer, plan in zip(self.blocks, plans, strict=True):
                tokens, probabilities = layer(tokens, plan, output_attentions)
            return Attended(tokens, probabilities)
        *arrivals, departure = self.reorders
        for arrive, layer, plan in zip(arrivals, self.blocks, self.plans, strict=True):
            tokens, probabilities = layer(arrive(tokens), plan, output_attentions)
        return Attended(departure(tokens), probabilities)


class InWindowOrder(WindowPlan):
    """A plan for tokens that lie in its window order already."""

    def partition(self, grid: Tensor) -> Tensor:
        """`(batch, height * width, channels)` -> `(batch * windows, side * side, channels)`."""
        return grid.reshape(-1, self.side * self.side, grid.shape[-1])

    def merge(self, windows: Tensor) -> Tensor:
        """Undo `partition`."""
        return windows.reshape(-1, self.height * self.width, windows.shape[-1])


def reorders(plans: Sequence[WindowPlan], device: torch.device) -> nn.ModuleList:
    """From the grid's own order through each layer's window order and back."""
    own = torch.arange(plans[0].height * plans[0].width)
    orders = [own, *(plan.order() for plan in plans), own]
    return nn.ModuleList(Reorder(before, after) for before, after in pairwise(orders)).to(device)


def prepare(model: nn.Module) -> None:
    """Replace what has a fast path inside a model by it, and empty the parameters that are not its own any more."""
    before = list(model.parameters())
    model.eval().requires_grad_(False).zero_grad()
    with torch.no_grad():
        replace(model)
    remaining = {id(parameter) for parameter in model.parameters()}
    for parameter in before:
        if id(parameter) not in remaining:  # whoever holds it still, an optimiser say, must not change it in vain
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)


def replace(module: nn.Module) -> None:
    """Replace the plain modules below one of ours; what is not ours, or has hooks, is left as it is."""
    child: Any
    for name, child in module.named_children():
        if isinstance(child, ClapAudioPatchEmbed) and is_plain(child.proj, nn.Conv2d):
            child.proj.weight.data = child.proj.weight.data.contiguous(memory_format=torch.channels_last)
        if is_plain(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        elif is_gelu_layer(child):
            setattr(module, name, PackedIntermediate(child))
        elif is_plain_stage(child):
            setattr(module, name, PreparedStage(child))
        elif type(child).__module__.startswith("clapstream.") or isinstance(child, (Preparable, nn.ModuleList)):
            replace(child)


def replace_attention(attention: nn.Module, plan: WindowPlan) -> None:
    """Replace the attention inside windows if query, key and value can be joined."""
    own = attention.self
    if type(own) is ClapAudioSelfAttention and all(
        is_plain(part, nn.Linear) for part in (own.query, own.key, own.value)
    ):
        attention.self = PreparedSelfAttention(own, plan)


def is_plain(module: Any, kind: type[nn.Module]) -> bool:
    """Whether a module is of exactly that class, which parametrizations and adapters change, and has no hooks."""
    return type(module) is kind and not has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module calls something else too."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def is_gelu_layer(module: Any) -> bool:
    """Whether a module is a plain linear layer with GELU after it."""
    if not (is_plain(module, ClapAudioIntermediate) or is_plain(module, ClapTextIntermediate)):
        return False
    function = module.intermediate_act_fn
    is_gelu = is_plain(function, Activation) and function.function is functional.gelu
    return is_gelu and is_plain(module.dense, nn.Linear)


def is_plain_stage(module: Any) -> bool:
    """Whether a module is a stage of plain layers inside which nothing has hooks, so that nobody sees the order."""
    return (
        type(module) is ClapAudioStage
        and all(type(layer) is ClapAudioLayer for layer in module.blocks)
        and not any(map(has_hooks, module.modules()))
    )
