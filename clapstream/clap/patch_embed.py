"""The audio tower's first layer: patches of the folded spectrogram, with the views of longer sounds mixed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.fusion import ClapAudioAFFBlock
from clapstream.clap.input_checks import check_is_longer
from clapstream.clap.preparable import Preparable
from clapstream.clap.tracing import is_tracing


class ClapAudioPatchEmbed(Preparable):
    """Cuts the folded spectrogram into patches and embeds them, fusing the views of longer sounds."""

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__()
        patch, stride = pair(config.patch_size), pair(config.patch_stride)
        padding = ((patch[0] - stride[0]) // 2, (patch[1] - stride[1]) // 2)
        self.grid = tuple(
            (config.spec_size + 2 * pad - side) // step + 1
            for pad, side, step in zip(padding, patch, stride, strict=True)
        )
        self.fuses_by_attention = config.enable_fusion and config.fusion_type != "channel_map"
        views = 4 if config.enable_fusion and config.fusion_type == "channel_map" else 1
        channels, hidden = config.patch_embed_input_channels, config.patch_embeds_hidden_size
        self.views = channels * views
        self.proj = nn.Conv2d(self.views, hidden, patch, stride, padding)
        self.norm = nn.LayerNorm(hidden) if config.enable_patch_layer_norm else nn.Identity()
        if config.enable_fusion:  # unused by channel_map, but part of its checkpoints
            self.fusion_model = ClapAudioAFFBlock(hidden, config.aff_block_r)
            self.mel_conv2d = nn.Conv2d(
                channels, hidden, (patch[0], patch[1] * 3), (stride[0], stride[1] * 3), padding
            )

    def forward(self, images: Tensor, is_longer: Tensor | None) -> Tensor:
        """`(batch, views, spec_size, spec_size)` -> tokens `(batch, height * width, hidden)`, row by row.

        Raises:
            ValueError: the features are of another kind, fused for an unfused tower say.
        """
        if not self.fuses_by_attention and images.shape[1] != self.views:
            raise ValueError(f"features of {images.shape[1]} views for a tower that reads {self.views}")
        patches = self.proj(images[:, :1] if self.fuses_by_attention else images)
        if self.fuses_by_attention and is_longer is not None:
            check_is_longer(is_longer, images)
            patches = self._fuse(patches, images, is_longer.flatten())
        return cast(Tensor, self.norm(patches.flatten(2).transpose(1, 2)))

    def _fuse(self, patches: Tensor, images: Tensor, is_longer: Tensor) -> Tensor:
        """Mix the crops of the longer sounds into the patches `(batch, hidden, height, width)` of the whole."""
        if is_tracing() and not self.training:  # a graph cannot depend on how many there are
            return torch.where(is_longer.bool()[:, None, None, None], self._mix(patches, images[:, 1:]), patches)
        rows = is_longer.nonzero().flatten()
        if len(rows) == 0:
            return patches
        return patches.index_copy(0, rows, self._mix(patches[rows], images[rows, 1:]))

    def _mix(self, patches: Tensor, crops: Tensor) -> Tensor:
        """Patches `(rows, hidden, height, width)` fused with the crops `(rows, 3, spec_size, spec_size)`."""
        details = self.mel_conv2d(crops.flatten(0, 1).unsqueeze(1)).unflatten(0, (-1, crops.shape[1]))
        side_by_side = details.permute(0, 2, 3, 1, 4).flatten(3)
        missing = patches.shape[-1] - side_by_side.shape[-1]
        fused: Tensor = self.fusion_model(patches, functional.pad(side_by_side, (0, missing)))
        return fused.to(patches.dtype)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """One number for both axes, or one for each."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])
