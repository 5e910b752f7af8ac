"""Attentional feature fusion (Dai et al. 2021): mixes two feature maps by weights that it reads from their sum."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from clapstream.clap.preparable import Preparable


def attention_branch(channels: int, reduced: int) -> list[nn.Module]:
    """Two 1x1 convolutions through a bottleneck of `reduced` channels."""
    return [
        nn.Conv2d(channels, reduced, kernel_size=1),
        nn.BatchNorm2d(reduced),
        nn.ReLU(),
        nn.Conv2d(reduced, channels, kernel_size=1),
        nn.BatchNorm2d(channels),
    ]


class ClapAudioAFFBlock(Preparable):
    """Fuses `(batch, channels, height, width)` maps; `reduction` is how far the bottleneck narrows."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        reduced = channels // reduction
        self.local_att = nn.Sequential(*attention_branch(channels, reduced))
        self.global_att = nn.Sequential(nn.AdaptiveAvgPool2d(1), *attention_branch(channels, reduced))
        self.sigmoid = nn.Sigmoid()

    def forward(self, whole: Tensor, detail: Tensor) -> Tensor:
        """The weighted sum of both maps, of their shape; equal weights give their plain sum."""
        both = whole + detail
        share = self.sigmoid(self.local_att(both) + self.global_att(both))
        return cast(Tensor, 2 * whole * share + 2 * detail * (1 - share))
