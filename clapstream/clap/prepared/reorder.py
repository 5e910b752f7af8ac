"""Reorders tokens, by copying them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Reorder(nn.Module):
    """Takes tokens from one order to another; an order lists tokens by place, `(tokens,)`."""

    index: Tensor

    def __init__(self, before: Tensor, after: Tensor) -> None:
        super().__init__()
        self.is_needed = not torch.equal(before, after)
        self.register_buffer("index", before.argsort()[after], persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, tokens, channels)`: the same tokens in the other order."""
        return tokens.index_select(1, self.index) if self.is_needed else tokens
