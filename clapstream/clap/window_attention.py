"""Attention of the audio tower: inside windows, biased by relative position (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.kept import Kept
from clapstream.clap.linear import Product, runs_prepared
from clapstream.clap.windows import WindowPlan, relative_position_index, top_left


class Attended(NamedTuple):
    """What attention found, in window order, and its probabilities `(batch * windows, heads, tokens, tokens)`."""

    tokens: Tensor
    probabilities: Tensor | None


class Prepared(NamedTuple):
    """What inference needs of the parameters: query, key and value in one product, what to add to the scores."""

    projection: Product
    score_bias: Tensor


class ClapAudioSelfAttention(nn.Module):
    """Attention inside each window, biased by relative position."""

    relative_position_index: Tensor
    shift_mask: Tensor | None

    def __init__(self, config: ClapAudioConfig, channels: int, heads: int, plan: WindowPlan) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"num_attention_heads: {heads} heads do not divide {channels} channels")
        self.heads = heads
        self.side = config.window_size
        self.plan = plan
        self.dropout = config.attention_probs_dropout_prob
        # A table for the full window even where the window shrinks: the shape that checkpoints have.
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * self.side - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(self.side))
        self.register_buffer("shift_mask", plan.shift_mask(), persistent=False)
        self.query = nn.Linear(channels, channels, bias=config.qkv_bias)
        self.key = nn.Linear(channels, channels, bias=config.qkv_bias)
        self.value = nn.Linear(channels, channels, bias=config.qkv_bias)
        self._prepared: Kept[Prepared] = Kept()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._prepared.forget()  # not to hold the old weights until the next inference
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, tokens: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Tokens `(batch, windows * side * side, channels)` in window order, before the output projection."""
        needs_more = self.training or torch.is_grad_enabled() or output_attentions
        if needs_more or plan != self.plan:
            return self._attend_openly(tokens, plan)
        if runs_prepared(tokens, self.query.weight):
            sources = [*self.parameters(), self.relative_position_index]
            projection, score_bias = self._prepared.get(sources, lambda: self._prepare(Product.prepare))
        else:
            projection, score_bias = self._prepare(Product)
        # In the score bias's precision: on the CPU at least single, because bfloat16's fused kernel is slower.
        query, key, value = self._heads(projection.apply(tokens).to(score_bias.dtype), plan)
        found = attend_to_windows(query, key, value, score_bias)
        return Attended(found.transpose(1, 2).reshape(tokens.shape).to(tokens.dtype), None)

    def _attend_openly(self, tokens: Tensor, plan: WindowPlan) -> Attended:
        """The same step by step: differentiable in the bias table too, with the probabilities at hand."""
        query, key, value = self._heads(functional.linear(tokens, *self._joined_projection()), plan)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        bias = self._score_bias(plan).to(scores.dtype)
        scores = (scores.view(-1, *bias.shape) + bias).flatten(0, 1)
        probabilities = functional.dropout(scores.softmax(-1), self.dropout, self.training)
        found = probabilities.to(value.dtype) @ value
        return Attended(found.transpose(1, 2).reshape(tokens.shape), probabilities)

    def _prepare(self, product: Callable[[Tensor, Tensor | None], Product]) -> Prepared:
        score_bias = self._score_bias(self.plan)
        if score_bias.device.type == "cpu":
            score_bias = score_bias.to(torch.promote_types(score_bias.dtype, torch.float32))
        return Prepared(product(*self._joined_projection()), score_bias.contiguous())

    def _joined_projection(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias that make query, key and value in one product."""
        parts = (self.query, self.key, self.value)
        weight = torch.cat([part.weight for part in parts])
        return weight, torch.cat([part.bias for part in parts]) if self.query.bias is not None else None

    def _heads(self, joined: Tensor, plan: WindowPlan) -> tuple[Tensor, ...]:
        """Query, key and value, each `(batch * windows, heads, side * side, channels / heads)`."""
        size = joined.shape[-1] // 3 // self.heads
        return joined.view(-1, plan.side * plan.side, 3, self.heads, size).permute(2, 0, 3, 1, 4).unbind(0)

    def _score_bias(self, plan: WindowPlan) -> Tensor:
        """What to add to the scores: `(1, heads, tokens, tokens)`, or shifted one for each window."""
        index = self.relative_position_index
        if plan.side < self.side:
            places = top_left(self.side, plan.side).to(index.device)
            index = index[places][:, places]
        bias = functional.embedding(index, self.relative_position_bias_table).permute(2, 0, 1).unsqueeze(0)
        mask = self.shift_mask if plan == self.plan else plan.shift_mask()
        return bias if mask is None else bias + mask.to(bias).unsqueeze(1)


def attend_to_windows(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention of `(batch * windows, heads, tokens, size)` with a mask of one window, or of all windows.

    PyTorch's fused kernels want a contiguous mask that needs no gradient; one window's is read for all of them.
    """
    batch = len(query) // len(mask)
    if len(mask) == 1 or batch == 1:
        return functional.scaled_dot_product_attention(query, key, value, mask)
    if query.device.type == "cpu":  # a mask repeated for each sound would cost more memory than the rest
        sounds = zip(*(part.chunk(batch) for part in (query, key, value)), strict=True)
        return torch.cat([functional.scaled_dot_product_attention(q, k, v, mask) for q, k, v in sounds])
    return functional.scaled_dot_product_attention(query, key, value, mask.repeat(batch, 1, 1, 1))
