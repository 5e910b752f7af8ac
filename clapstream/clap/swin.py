"""The blocks of the audio tower: a Swin transformer's layers, stages and merging (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.gradient_checkpointing import LayerStack
from clapstream.clap.projection import activation
from clapstream.clap.window_attention import Attended, ClapAudioSelfAttention
from clapstream.clap.windows import WindowPlan


class Dense(nn.Module):
    """A linear layer under the name that checkpoints give it, and dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`."""
        return cast(Tensor, self.dropout(self.dense(tokens)))


class ClapAudioIntermediate(nn.Module):
    """The widening half of the perceptron."""

    def __init__(self, config: ClapAudioConfig, channels: int) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, int(config.mlp_ratio * channels))
        self.intermediate_act_fn = activation(config.hidden_act)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(..., channels)` -> `(..., mlp_ratio * channels)`."""
        return cast(Tensor, self.intermediate_act_fn(self.dense(tokens)))


class ClapAudioAttention(nn.Module):
    """Attention in windows and its output projection."""

    def __init__(self, config: ClapAudioConfig, channels: int, heads: int) -> None:
        super().__init__()
        self.self = ClapAudioSelfAttention(config, channels, heads)
        self.output = Dense(channels, channels, config.attention_probs_dropout_prob)

    def forward(self, windows: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Windows `(batch * windows, side * side, channels)` in and out."""
        found, probabilities = self.self(windows, plan, output_attentions)
        return Attended(self.output(found), probabilities)


class ClapDropPath(nn.Module):
    """In training, leaves a branch out for some rows of the batch (Huang et al. 2016)."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, branch: Tensor) -> Tensor:
        """`(batch, ...)` of the same shape; what is kept is scaled up to the same mean."""
        if not self.training:
            return branch
        rows = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        return branch * branch.new_empty(rows).bernoulli_(1 - self.drop_prob) / (1 - self.drop_prob)


class ClapAudioLayer(nn.Module):
    """One Swin block: attention in windows, then a perceptron, each added to its input."""

    def __init__(self, config: ClapAudioConfig, channels: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.attention = ClapAudioAttention(config, channels, heads)
        self.drop_path = ClapDropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.layernorm_after = nn.LayerNorm(channels, eps=config.layer_norm_eps)
        self.intermediate = ClapAudioIntermediate(config, channels)
        self.output = Dense(int(config.mlp_ratio * channels), channels, config.hidden_dropout_prob)

    def forward(self, tokens: Tensor, plan: WindowPlan, output_attentions: bool) -> Attended:
        """Tokens `(batch, height * width, channels)` of the grid that the plan cuts into windows."""
        windows = plan.partition(self.layernorm_before(tokens))
        found, probabilities = self.attention(windows, plan, output_attentions)
        tokens = tokens + self.drop_path(plan.merge(found))
        return Attended(tokens + self.output(self.intermediate(self.layernorm_after(tokens))), probabilities)


class ClapAudioPatchMerging(nn.Module):
    """Halves the grid: four neighbours become one token of twice the channels."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, height * width, channels)` -> `(batch, ceil(height / 2) * ceil(width / 2), 2 * channels)`."""
        grid = tokens.reshape(-1, self.height, self.width, tokens.shape[-1])
        if self.height % 2 or self.width % 2:
            grid = functional.pad(grid, (0, 0, 0, self.width % 2, 0, self.height % 2))
        height, width = (self.height + 1) // 2, (self.width + 1) // 2
        squares = grid.reshape(-1, height, 2, width, 2, tokens.shape[-1]).permute(0, 1, 3, 4, 2, 5)
        return cast(Tensor, self.reduction(self.norm(squares.flatten(3).flatten(1, 2))))


class StageResult(NamedTuple):
    """A stage's tokens, those before its merging, and the last layer's attention probabilities."""

    tokens: Tensor
    unmerged: Tensor
    probabilities: Tensor | None


class ClapAudioStage(LayerStack):
    """Layers on one grid, shifted every second time, and the merging to the next grid."""

    def __init__(
        self, config: ClapAudioConfig, stage: int, grid: tuple[int, int], drop_paths: Sequence[float]
    ) -> None:
        super().__init__()
        channels = config.patch_embeds_hidden_size * 2**stage
        heads = config.stage_heads[stage]
        shifts = [config.window_size // 2 if layer % 2 else 0 for layer in range(len(drop_paths))]
        self.plans = [WindowPlan.of(*grid, config.window_size, shift) for shift in shifts]
        self.unshrunk_plans = [WindowPlan(*grid, config.window_size, shift) for shift in shifts]
        self.blocks = nn.ModuleList(ClapAudioLayer(config, channels, heads, drop_path) for drop_path in drop_paths)
        is_last = stage == len(config.depths) - 1
        self.downsample = None if is_last else ClapAudioPatchMerging(channels, *grid)

    def forward(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> StageResult:
        """Tokens `(batch, height * width, channels)` of this stage's grid in; of the next one's out."""
        probabilities = None
        plans = self.unshrunk_plans if always_partition else self.plans
        for layer, plan in zip(self.blocks, plans, strict=True):
            tokens, probabilities = self.run_layer(layer, tokens, plan, output_attentions)
        merged = tokens if self.downsample is None else self.downsample(tokens)
        return StageResult(merged, tokens, probabilities)
