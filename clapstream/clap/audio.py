"""The audio tower: HTSAT, a Swin transformer over the log-mel spectrogram folded into a square.

After Chen et al. 2022 (HTS-AT) and Liu et al. 2021 (Swin). Parameter names, outputs and numbers are those of
Hugging Face's CLAP.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.fusion import ClapAudioAFFBlock, check_is_longer
from clapstream.clap.linear import PreparedLinear
from clapstream.clap.outputs import BaseModelOutputWithPooling, ClapAudioModelOutput
from clapstream.clap.projection import ClapProjectionLayer, activation
from clapstream.clap.reorder import Reorder
from clapstream.clap.window_attention import Attended, ClapAudioSelfAttention
from clapstream.clap.windows import WindowPlan

FUSION_TYPES = (None, "aff_2d", "channel_map")
"""None means "aff_2d", which the published fused checkpoints use without saying so."""


class ClapAudioPatchEmbed(nn.Module):
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
        self.proj = nn.Conv2d(channels * views, hidden, patch, stride, padding)
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
        if not self.fuses_by_attention and images.shape[1] != self.proj.in_channels:
            raise ValueError(f"features of {images.shape[1]} views for a tower that reads {self.proj.in_channels}")
        patches = self._embed(images[:, :1] if self.fuses_by_attention else images)
        if self.fuses_by_attention and is_longer is not None:
            check_is_longer(is_longer, images)
            patches = self._fuse(patches, images, is_longer.flatten().nonzero().flatten())
        return cast(Tensor, self.norm(patches.flatten(2).transpose(1, 2)))

    def _embed(self, images: Tensor) -> Tensor:
        """The patches' convolution `(batch, hidden, height, width)`, in memory with the channels last."""
        weight = self.proj.weight.contiguous(memory_format=torch.channels_last)
        stride, padding = self.proj.stride, self.proj.padding
        return functional.conv2d(images, weight, self.proj.bias, stride, padding)

    def _fuse(self, patches: Tensor, images: Tensor, rows: Tensor) -> Tensor:
        """Mix the crops of the longer sounds into the patches `(batch, hidden, height, width)` of the whole."""
        if len(rows) == 0:
            return patches
        crops = images[rows, 1:]
        details = self.mel_conv2d(crops.flatten(0, 1).unsqueeze(1)).unflatten(0, crops.shape[:2])
        side_by_side = details.permute(0, 2, 3, 1, 4).flatten(3)
        missing = patches.shape[-1] - side_by_side.shape[-1]
        fused = self.fusion_model(patches[rows], functional.pad(side_by_side, (0, missing)))
        return patches.index_copy(0, rows, fused.to(patches.dtype))


class Dense(nn.Module):
    """A linear layer under the name that checkpoints give it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = PreparedLinear(inputs, outputs)

    def forward(self, tokens: Tensor, *, gelu: bool = False) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`, followed by GELU on request."""
        return cast(Tensor, self.dense(tokens, gelu=gelu))


class ClapAudioAttention(nn.Module):
    """Attention in windows and its output projection."""

    def __init__(self, config: ClapAudioConfig, channels: int, heads: int, plan: WindowPlan) -> None:
        super().__init__()
        self.self = ClapAudioSelfAttention(config, channels, heads, plan)
        self.output = Dense(channels, channels)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, tokens: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Tokens `(batch, windows * side * side, channels)` in window order, in and out."""
        found, probabilities = self.self(tokens, plan, output_attentions)
        return Attended(functional.dropout(self.output(found), self.dropout, self.training), probabilities)


class ClapAudioLayer(nn.Module):
    """One Swin block: attention in windows, then a perceptron, each added to its input."""

    def __init__(
        self, config: ClapAudioConfig, channels: int, heads: int, plan: WindowPlan, drop_path: float
    ) -> None:
        super().__init__()
        hidden = int(config.mlp_ratio * channels)
        self.layernorm_before = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.attention = ClapAudioAttention(config, channels, heads, plan)
        self.layernorm_after = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.intermediate = Dense(channels, hidden)
        self.output = Dense(hidden, channels)
        self.activation = activation(config.hidden_act)
        self.is_gelu = config.hidden_act == "gelu"
        self.plan = plan
        self.dropout = config.hidden_dropout_prob
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, unordered: WindowPlan | None, output_attentions: bool) -> Attended:
        """Tokens in this layer's window order, or in the grid's own order if `unordered` says how to cut it."""
        windows = self.layernorm_before(tokens)
        if unordered is None:
            found, probabilities = self.attention(windows, self.plan, output_attentions)
        else:
            found, probabilities = self.attention(unordered.partition(windows), unordered, output_attentions)
            found = unordered.merge(found)
        tokens = tokens + self._drop_path(found)
        output = self.output(self._hidden(self.layernorm_after(tokens)))
        return Attended(tokens + functional.dropout(output, self.dropout, self.training), probabilities)

    def _hidden(self, tokens: Tensor) -> Tensor:
        """The perceptron's hidden layer."""
        if self.is_gelu:
            return cast(Tensor, self.intermediate(tokens, gelu=True))
        return self.activation(self.intermediate(tokens))

    def _drop_path(self, branch: Tensor) -> Tensor:
        """In training, leave the branch out for some rows of the batch (Huang et al. 2016)."""
        if not self.training or self.drop_path == 0.0:
            return branch
        kept = branch.new_empty(len(branch), 1, 1).bernoulli_(1 - self.drop_path)
        return branch * kept / (1 - self.drop_path)


class ClapAudioPatchMerging(nn.Module):
    """Halves the grid: four neighbours become one token of twice the channels."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.reduction = PreparedLinear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, height * width, channels)` -> `(batch, ceil(height / 2) * ceil(width / 2), 2 * channels)`."""
        grid = tokens.view(len(tokens), self.height, self.width, -1)
        if self.height % 2 or self.width % 2:
            grid = functional.pad(grid, (0, 0, 0, self.width % 2, 0, self.height % 2))
        batch, height, width, channels = grid.shape
        squares = grid.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return cast(Tensor, self.reduction(self.norm(squares.reshape(batch, -1, 4 * channels))))


class StageResult(NamedTuple):
    """A stage's tokens, those before its merging, and the last layer's attention probabilities."""

    tokens: Tensor
    unmerged: Tensor
    probabilities: Tensor | None


class ClapAudioStage(nn.Module):
    """Layers on one grid, shifted every second time, and the merging to the next grid."""

    def __init__(
        self, config: ClapAudioConfig, stage: int, grid: tuple[int, int], drop_paths: Sequence[float]
    ) -> None:
        super().__init__()
        channels = config.patch_embeds_hidden_size * 2**stage
        heads = config.stage_heads[stage]
        shifts = [config.window_size // 2 if layer % 2 else 0 for layer in range(len(drop_paths))]
        plans = [WindowPlan.of(*grid, config.window_size, shift) for shift in shifts]
        self.unshrunk_plans = [WindowPlan(*grid, config.window_size, shift) for shift in shifts]
        self.blocks = nn.ModuleList(
            ClapAudioLayer(config, channels, heads, plan, drop_path)
            for plan, drop_path in zip(plans, drop_paths, strict=True)
        )
        is_last = stage == len(config.depths) - 1
        self.downsample = None if is_last else ClapAudioPatchMerging(channels, *grid)
        self.reorders = None if any(plan.is_padded for plan in plans) else reorders(plans, grid)

    def forward(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> StageResult:
        """Tokens `(batch, height * width, channels)` of this stage's grid in; of the next one's out."""
        probabilities = None
        if always_partition:
            for layer, plan in zip(self.blocks, self.unshrunk_plans, strict=True):
                tokens, probabilities = layer(tokens, plan, output_attentions)
        elif self.reorders is None:
            for layer in self.blocks:
                tokens, probabilities = layer(tokens, layer.plan, output_attentions)
        else:
            *arrivals, departure = self.reorders
            for arrive, layer in zip(arrivals, self.blocks, strict=True):
                tokens, probabilities = layer(arrive(tokens), None, output_attentions)
            tokens = departure(tokens)
        merged = tokens if self.downsample is None else self.downsample(tokens)
        return StageResult(merged, tokens, probabilities)


def reorders(plans: Sequence[WindowPlan], grid: tuple[int, int]) -> nn.ModuleList:
    """From the grid's own order through each layer's window order and back."""
    own = torch.arange(grid[0] * grid[1])
    orders = [own, *(plan.order() for plan in plans), own]
    return nn.ModuleList(Reorder(before, after) for before, after in pairwise(orders))


class ClapAudioEncoder(nn.Module):
    """Normalises, folds and embeds the spectrogram, and runs the stages."""

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__()
        check_geometry(config)
        self.config = config
        self.freq_ratio = config.spec_size // config.num_mel_bins
        self.patch_embed = ClapAudioPatchEmbed(config)
        self.grids = stage_grids(cast("tuple[int, int]", self.patch_embed.grid), len(config.depths))
        drop_paths = torch.linspace(0, config.drop_path_rate, sum(config.depths)).tolist()
        self.layers = nn.ModuleList(
            ClapAudioStage(
                config, stage, grid, drop_paths[sum(config.depths[:stage]) : sum(config.depths[: stage + 1])]
            )
            for stage, grid in enumerate(self.grids)
        )
        self.batch_norm = nn.BatchNorm2d(config.num_mel_bins)
        self.norm = nn.LayerNorm(config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1))

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
        images = self.fold(self.normalise(input_features))
        tokens = self.patch_embed(images.to(self.norm.weight.dtype), is_longer)
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
        tokens = self.norm(tokens)
        return BaseModelOutputWithPooling(
            last_hidden_state=self.unfold(as_map(tokens, self.grids[-1])),
            pooler_output=tokens.mean(1),
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def normalise(self, spectrograms: Tensor) -> Tensor:
        """Batch normalisation of each mel bin, `(batch, views, frames, mels)`.

        Out of training at least in single precision, also in a tower of half precision, which would round decibels
        to a quarter: such a tower may be given single-precision features.
        """
        norm, features = self.batch_norm, spectrograms.transpose(1, 3)
        if norm.training:
            return cast(Tensor, norm(features)).transpose(1, 3)
        dtype = torch.promote_types(torch.promote_types(features.dtype, norm.weight.dtype), torch.float32)
        mean, variance = cast(Tensor, norm.running_mean).to(dtype), cast(Tensor, norm.running_var).to(dtype)
        weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)
        normalised = functional.batch_norm(features.to(dtype), mean, variance, weight, bias, eps=norm.eps)
        return normalised.transpose(1, 3)

    def fold(self, spectrograms: Tensor) -> Tensor:
        """Stretch in time to fill the square, cut into pieces of time and stack those, each with all frequencies.

        `(batch, views, frames, mels)` -> `(batch, views, spec_size, spec_size)`, rows being frequencies.

        Raises:
            ValueError: more frames or mel bins than fit.
        """
        batch, views, frames, mels = spectrograms.shape
        length, height = self.config.spec_size * self.freq_ratio, self.config.spec_size // self.freq_ratio
        if frames > length or mels > height:
            raise ValueError(f"{frames} frames of {mels} mel bins do not fit in {length} x {height}")
        if (frames, mels) != (length, height):
            spectrograms = functional.interpolate(
                spectrograms, (length, height), mode="bicubic", align_corners=True
            )
        pieces = spectrograms.reshape(batch, views, self.freq_ratio, length // self.freq_ratio, height)
        return pieces.transpose(3, 4).reshape(batch, views, self.config.spec_size, self.config.spec_size)

    def unfold(self, image: Tensor) -> Tensor:
        """Undo the stacking: `(batch, channels, height, width)` -> `(batch, channels, bands, time)`."""
        batch, channels, height, width = image.shape
        bands = bands_of(height, self.freq_ratio)
        pieces = image.view(batch, channels, height // bands, bands, width).transpose(2, 3)
        return pieces.reshape(batch, channels, bands, -1)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """One number for both axes, or one for each."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """`(batch, height * width, channels)` -> `(batch, channels, height, width)`."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def stage_grids(first: tuple[int, int], stages: int) -> list[tuple[int, int]]:
    """`(height, width)` of each stage: each side is half the one before, rounded up."""
    grids = [first]
    for _ in range(stages - 1):
        height, width = grids[-1]
        grids.append(((height + 1) // 2, (width + 1) // 2))
    return grids


def bands_of(height: int, freq_ratio: int) -> int:
    """Frequency bands in the last stage's map: its rows over the pieces stacked there; one if that is no band."""
    bands = max(1, height // freq_ratio)
    return bands if height % bands == 0 else 1


def check_geometry(config: ClapAudioConfig) -> None:
    """Raise ValueError, naming the fields, for a configuration that describes no tower."""
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


class ClapAudioModel(PretrainedModel[ClapAudioConfig]):
    """The audio tower: log-mel spectrograms to one vector for each sound."""

    config_class = ClapAudioConfig
    subtree = "audio_model."

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__(config)
        self.audio_encoder = ClapAudioEncoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds the patches."""
        return self.audio_encoder.patch_embed.proj

    def forward(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_hidden_states_before_downsampling: bool = False,
        always_partition: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Run the tower on `input_features` `(batch, views, frames, mels)`, as the feature extractor makes them.

        `is_longer` `(batch, 1)` marks the rows whose views differ (fusion only). `hidden_states` are the embedded
        patches and each stage's output, `(batch, channels, height, width)`; `attentions` those of each stage's last
        layer, `(batch * windows, heads, tokens, tokens)`. `always_partition` keeps the window's full size on grids
        smaller than it and fills them up. None takes the configuration's value.
        """
        config = self.config
        output = self.audio_encoder(
            input_features,
            is_longer,
            config.output_attentions if output_attentions is None else output_attentions,
            config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            output_hidden_states_before_downsampling,
            always_partition,
        )
        return_dict = config.return_dict if return_dict is None else return_dict
        return cast(BaseModelOutputWithPooling, output) if return_dict else output.to_tuple()


class ClapAudioModelWithProjection(PretrainedModel[ClapAudioConfig]):
    """The audio tower and its projection into the space that sound and text share."""

    config_class = ClapAudioConfig

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__(config)
        self.audio_model = ClapAudioModel(config)
        self.audio_projection = ClapProjectionLayer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds the patches."""
        return self.audio_model.get_input_embeddings()

    def forward(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_hidden_states_before_downsampling: bool = False,
        always_partition: bool = False,
    ) -> ClapAudioModelOutput | tuple[Any, ...]:
        """As `ClapAudioModel.forward`, with `audio_embeds` `(batch, projection_dim)`, not normalised."""
        tower = self.audio_model(
            input_features,
            is_longer,
            output_attentions,
            output_hidden_states,
            True,
            output_hidden_states_before_downsampling=output_hidden_states_before_downsampling,
            always_partition=always_partition,
        )
        output = ClapAudioModelOutput(
            audio_embeds=self.audio_projection(tower.pooler_output),
            last_hidden_state=tower.last_hidden_state,
            hidden_states=tower.hidden_states,
            attentions=tower.attentions,
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()
