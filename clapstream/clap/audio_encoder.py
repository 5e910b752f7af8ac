"""The audio tower's encoder: folds the log-mel spectrogram into a square and runs the stages (Chen et al. 2022)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.input_checks import check_features
from clapstream.clap.outputs import BaseModelOutputWithPooling
from clapstream.clap.patch_embed import ClapAudioPatchEmbed, pair
from clapstream.clap.preparable import Preparable
from clapstream.clap.segment_grid import SegmentGrid
from clapstream.clap.swin import ClapAudioStage

FUSION_TYPES = (None, "aff_2d", "channel_map")
"""None means "aff_2d", which the published fused checkpoints use without saying so."""


class ClapAudioEncoder(Preparable):
    """Normalises, folds and embeds the spectrogram, and runs the stages."""

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__()
        check_geometry(config)
        self.config = config
        self.freq_ratio = config.spec_size // config.num_mel_bins
        self.patch_embed = ClapAudioPatchEmbed(config)
        self.grids = stage_grids(cast("tuple[int, int]", self.patch_embed.grid), len(config.depths))
        self.segment_grid = SegmentGrid.of(config, self.grids[-1], pair(config.patch_stride))
        layers = sum(config.depths)
        drop_paths = [config.drop_path_rate * layer / max(1, layers - 1) for layer in range(layers)]
        self.layers = nn.ModuleList(
            ClapAudioStage(
                config, stage, grid, drop_paths[sum(config.depths[:stage]) : sum(config.depths[: stage + 1])]
            )
            for stage, grid in enumerate(self.grids)
        )
        self.batch_norm = nn.BatchNorm2d(config.num_mel_bins)
        self.norm = nn.LayerNorm(config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1))
        self.avgpool = nn.AdaptiveAvgPool1d(1)

    def forward(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        output_hidden_states_before_downsampling: bool = False,
        always_partition: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Spectrograms `(batch, views, frames, mels)` in dB; see `ClapAudioModel.forward`."""
        check_features(input_features)
        images = self.fold(self.normalise(input_features))
        tokens = self.patch_embed(images.to(next(self.patch_embed.parameters(), images).dtype), is_longer)
        states = [as_map(tokens, self.grids[0])]
        attentions = []
        for stage, (layer, grid) in enumerate(zip(self.layers, self.grids, strict=True)):
            result = layer(tokens, output_attentions, always_partition)
            tokens = result.tokens
            attentions.append(result.probabilities)
            if output_hidden_states_before_downsampling:
                states.append(as_map(result.unmerged, grid))
            else:
                states.append(as_map(tokens, self.grids[min(stage + 1, len(self.grids) - 1)]))
        last = self.unfold(as_map(self.norm(tokens), self.grids[-1]))
        return BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=self.avgpool(last.flatten(2)).flatten(1),
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def normalise(self, spectrograms: Tensor) -> Tensor:
        """Batch normalisation of each mel bin, `(batch, views, frames, mels)`.

        Out of training at least in single precision, also in a tower of half precision, which would round decibels
        to a quarter: such a tower may be given single-precision features.
        """
        norm, features = self.batch_norm, spectrograms.transpose(1, 3)
        own = next(norm.parameters(), features).dtype
        wide = torch.promote_types(torch.promote_types(features.dtype, own), torch.float32)
        if norm.training or own == wide:
            return cast(Tensor, norm(features.to(own))).transpose(1, 3)
        tensors = {**dict(norm.named_parameters()), **dict(norm.named_buffers())}
        widened = {name: tensor.to(wide) for name, tensor in tensors.items() if tensor.is_floating_point()}
        return cast(Tensor, functional_call(norm, widened, features.to(wide))).transpose(1, 3)

    def fold(self, spectrograms: Tensor) -> Tensor:
        """Stretch in time to fill the square, cut into pieces of time and stack them, each with all frequencies.

        `(batch, views, frames, mels)` -> `(batch, views, spec_size, spec_size)`, rows being frequencies.

        Raises:
            ValueError: more frames or mel bins than fit.
        """
        frames, mels = spectrograms.shape[2:]
        length, height = self.config.spec_size * self.freq_ratio, self.config.spec_size // self.freq_ratio
        if frames > length or mels > height:
            raise ValueError(f"{frames} frames of {mels} mel bins do not fit in {length} x {height}")
        if (frames, mels) != (length, height):
            spectrograms = functional.interpolate(
                spectrograms, (length, height), mode="bicubic", align_corners=True
            )
        pieces = spectrograms.reshape(-1, spectrograms.shape[1], self.freq_ratio, length // self.freq_ratio, height)
        return pieces.transpose(3, 4).flatten(2, 3)

    def unfold(self, image: Tensor) -> Tensor:
        """Undo the stacking: `(batch, channels, height, width)` -> `(batch, channels, bands, time)`."""
        bands = bands_of(self.grids[-1][0], self.freq_ratio)
        pieces = image.reshape(-1, image.shape[1], image.shape[2] // bands, bands, image.shape[3])
        return pieces.transpose(2, 3).flatten(3)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(batch, height * width, channels)` -> `(batch, channels, height, width)`."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[-1], *grid)


def stage_grids(first: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """`(height, width)` of each stage: each side is half the one before, rounded up."""
    grids = [first]
    for _ in range(stages - 1):
        height, width = grids[-1]
        grids.append(((height + 1) // 2, (width + 1) // 2))
    return grids


def bands_of(height: int, freq_ratio: int) -> int:
    """Frequency bands in the last stage's map: its rows over the pieces stacked there, as in transformers."""
    bands = max(1, height // freq_ratio)
    return bands if height % bands == 0 else 1


def check_geometry(config: ClapAudioConfig) -> None:
    """Raise ValueError, naming the fields, for a configuration that does not describe a tower."""
    if config.enable_fusion and config.fusion_type not in FUSION_TYPES:
        raise ValueError(f"fusion_type must be one of {FUSION_TYPES}, not {config.fusion_type!r}")
    if len(config.stage_heads) < len(config.depths):
        raise ValueError(f"num_attention_heads has fewer entries than depths: {config.num_attention_heads}")
    if any(step > side for step, side in zip(pair(config.patch_stride), pair(config.patch_size), strict=True)):
        raise ValueError(f"patch_stride {config.patch_stride} is larger than patch_size {config.patch_size}")
    if config.spec_size < config.num_mel_bins:
        raise ValueError(f"spec_size {config.spec_size} is less than num_mel_bins {config.num_mel_bins}")
    freq_ratio = config.spec_size // config.num_mel_bins
    if config.spec_size % freq_ratio:
        raise ValueError(
            f"spec_size {config.spec_size} is not a multiple of its ratio to num_mel_bins, {freq_ratio}"
        )
