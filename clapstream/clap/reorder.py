"""Tokens from one order to another, in both directions at the price of a copy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Permute(torch.autograd.Function):
    """Reorders tokens; unlike that of `index_select`, its gradient is a gather too and not a slow scatter."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        """`(batch, tokens, channels)` in the order of `index`."""
        ctx.save_for_backward(index, inverse)
        return tokens.index_select(1, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient in the order before."""
        index, inverse = ctx.saved_tensors
        return permute(gradient, inverse, index), None, None


def permute(tokens: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """Tokens `(batch, tokens, channels)` in the order of `index`, differentiable."""
    if not torch.is_grad_enabled():
        return tokens.index_select(1, index)
    permuted: Tensor = Permute.apply(tokens, index, inverse)  # type: ignore[no-untyped-call]
    return permuted


class Reorder(nn.Module):
    """Takes tokens from one order to another; an order lists tokens by place, `(tokens,)`."""

    index: Tensor
    inverse: Tensor

    def __init__(self, before: Tensor, after: Tensor) -> None:
        super().__init__()
        self.is_needed = not torch.equal(before, after)
        index = before.argsort()[after]
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inverse", index.argsort(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, tokens, channels)`: the same tokens in the other order."""
        return permute(tokens, self.index, self.inverse) if self.is_needed else tokens
