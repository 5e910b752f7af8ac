"""How a grid of tokens is cut into attention windows: plain functions of its size.

After Liu et al. 2021, "Swin Transformer". A grid is `(height, width)`, row by row; windows too lie row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OUTSIDE = -100.0
"""What is added to the attention between tokens that only the cyclic shift made neighbours, as in Swin."""


@dataclass(frozen=True)
class WindowPlan:
    """One layer's windows: their side and cyclic shift, on a grid of `height` x `width` tokens."""

    height: int
    width: int
    side: int
    shift: int

    @classmethod
    def of(cls, height: int, width: int, side: int, shift: int) -> WindowPlan:
        """By Swin's rule: on a grid no larger than a window the window shrinks to it, and nothing is shifted."""
        if min(height, width) <= side:
            return cls(height, width, min(height, width), 0)
        return cls(height, width, side, shift)

    @property
    def padded_height(self) -> int:
        """Height after filling up the last row of windows."""
        return -(-self.height // self.side) * self.side

    @property
    def padded_width(self) -> int:
        """Width after filling up the last column of windows."""
        return -(-self.width // self.side) * self.side

    @property
    def is_padded(self) -> bool:
        """Whether the windows do not divide the grid."""
        return (self.padded_height, self.padded_width) != (self.height, self.width)

    def partition(self, grid: Tensor) -> Tensor:
        """Fill up, shift, cut `(batch, height * width, channels)` to `(batch * windows, side * side, channels)`."""
        grid = grid.reshape(-1, self.height, self.width, grid.shape[-1])
        fill = (0, 0, 0, self.padded_width - self.width, 0, self.padded_height - self.height)
        grid = torch.nn.functional.pad(grid, fill) if self.is_padded else grid
        grid = grid.roll((-self.shift, -self.shift), (1, 2)) if self.shift else grid
        rows, columns = self.padded_height // self.side, self.padded_width // self.side
        windows = grid.reshape(-1, rows, self.side, columns, self.side, grid.shape[-1]).transpose(2, 3)
        return windows.flatten(0, 2).flatten(1, 2)

    def merge(self, windows: Tensor) -> Tensor:
        """Undo `partition`."""
        rows, columns = self.padded_height // self.side, self.padded_width // self.side
        grid = windows.reshape(-1, rows, columns, self.side, self.side, windows.shape[-1]).transpose(2, 3)
        grid = grid.flatten(3, 4).flatten(1, 2)
        grid = grid.roll((self.shift, self.shift), (1, 2)) if self.shift else grid
        return grid[:, : self.height, : self.width].flatten(1, 2)

    def order(self) -> Tensor:
        """Index `(height * width,)` of the token at each place in window order.

        Raises:
            ValueError: the windows do not divide the grid.
        """
        if self.is_padded:
            raise ValueError(f"windows of {self.side} do not divide a grid of {self.height} x {self.width}")
        tokens = torch.arange(self.height * self.width)
        return self.partition(tokens.view(1, -1, 1)).flatten()

    def shift_mask(self, device: torch.device | None = None) -> Tensor | None:
        """What to add to attention scores `(windows, side * side, side * side)`: 0 or `OUTSIDE`; None unshifted."""
        if self.shift == 0:
            return None
        rows = shift_regions(self.padded_height, self.side, self.shift, device)
        columns = shift_regions(self.padded_width, self.side, self.shift, device)
        regions = (rows[:, None] * 3 + columns[None, :]).view(1, -1, 1)
        # The regions are those of the shifted grid already.
        whole = WindowPlan(self.padded_height, self.padded_width, self.side, 0)
        windows = whole.partition(regions).squeeze(-1)
        apart = windows[:, :, None] != windows[:, None, :]
        return torch.zeros(apart.shape, device=device).masked_fill(apart, OUTSIDE)


def shift_regions(length: int, side: int, shift: int, device: torch.device | None = None) -> Tensor:
    """Along one axis of a shifted grid: 0 for whole windows, 1 and 2 for the parts of the one that wraps around."""
    places = torch.arange(length, device=device)
    return (places >= length - side).long() + (places >= length - shift).long()


def relative_position_index(side: int) -> Tensor:
    """Row of the bias table for each pair of tokens in a window: `(side * side, side * side)`."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    down = rows.flatten()[:, None] - rows.flatten()[None, :] + side - 1
    right = columns.flatten()[:, None] - columns.flatten()[None, :] + side - 1
    return down * (2 * side - 1) + right


def top_left(side: int, shrunk: int, device: torch.device | None = None) -> Tensor:
    """Places in a window of `side` that a window of side `shrunk` occupies: `(shrunk * shrunk,)`."""
    places = torch.arange(side * side, device=device).view(side, side)
    return places[:shrunk, :shrunk].flatten()
