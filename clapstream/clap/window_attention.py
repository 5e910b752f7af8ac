"""Attention of the audio tower: inside windows, biased by relative position (Liu et al. 2021)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.tracing import is_tracing
from clapstream.clap.windows import WindowPlan, relative_position_index, top_left


class Attended(NamedTuple):
    """The output of attention, and its probabilities `(batch * windows, heads, tokens, tokens)`."""

    tokens: Tensor
    probabilities: Tensor | None


class ClapAudioSelfAttention(nn.Module):
    """Attention inside each window, biased by relative position."""

    relative_position_index: Tensor

    def __init__(self, config: ClapAudioConfig, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"num_attention_heads: {heads} heads do not divide {channels} channels")
        self.heads = heads
        self.side = config.window_size
        # A table for the full window even where the window shrinks: the shape that checkpoints have.
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * self.side - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(self.side))
        self.query = nn.Linear(channels, channels, bias=config.qkv_bias)
        self.key = nn.Linear(channels, channels, bias=config.qkv_bias)
        self.value = nn.Linear(channels, channels, bias=config.qkv_bias)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, tokens: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Windows `(batch * windows, side * side, channels)`, before the output projection."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        bias = score_bias(self.relative_position_bias_table, self.relative_position_index, self.side, plan)
        probabilities = None
        if output_attentions or self.dropout.training or torch.is_grad_enabled() or is_tracing():
            probabilities = self.dropout(attention_probabilities(query, key, bias))
            found = probabilities.to(value.dtype) @ value
        else:
            found = attend_to_windows(query, key, value, bias.to(query.dtype))
        return Attended(found.transpose(1, 2).flatten(2), probabilities if output_attentions else None)


def attention_probabilities(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Probabilities `(batch * windows, heads, tokens, tokens)`; `bias` as `score_bias` makes it."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    biased: Tensor = scores.view(-1, *bias.shape) + bias
    return biased.flatten(0, 1).softmax(-1)


def attend_to_windows(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """The same and the product with `value`, in PyTorch's fused kernel where it has one."""
    mask = bias if bias.shape[0] == 1 else bias.repeat(query.shape[0] // bias.shape[0], 1, 1, 1)
    return functional.scaled_dot_product_attention(query, key, value, mask)


def score_bias(table: Tensor, index: Tensor, side: int, plan: WindowPlan) -> Tensor:
    """What to add to the scores: `(1, heads, tokens, tokens)`, or shifted one for each window.

    `table` and `index` are those of a full window of that side.
    """
    if plan.side < side:
        places = top_left(side, plan.side, index.device)
        index = index[places][:, places]
    bias = functional.embedding(index, table).permute(2, 0, 1).unsqueeze(0)
    mask = plan.shift_mask(index.device)
    return bias if mask is None else bias + mask.to(bias).unsqueeze(1)
