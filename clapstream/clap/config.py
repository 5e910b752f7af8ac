"""Configurations of CLAP and its two towers: the arguments and defaults of Hugging Face's CLAP documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

from clapstream.clap.pretrained_config import PretrainedConfig

Tower = TypeVar("Tower", bound=PretrainedConfig)


class TowerConfig(PretrainedConfig):
    """What the configurations of the two towers share: each can be found in a whole CLAP's, as `part_name`."""

    part_name: ClassVar[str]

    @classmethod
    def select(cls, values: dict[str, Any]) -> Self:
        """As `PretrainedConfig.select`, or this tower's part of a whole CLAP's."""
        if values.get("model_type") == ClapConfig.model_type:
            whole = ClapConfig.from_dict(values)
            tower = getattr(whole, cls.part_name)
            return cls.from_dict(tower.to_dict(), dtype=tower.dtype or whole.dtype)
        return super().select(values)


class ClapTextConfig(TowerConfig):
    """The text tower: a RoBERTa encoder.

    `position_embedding_type` is absolute, relative_key or relative_key_query.
    """

    model_type = "clap_text_model"
    part_name = "text_config"

    vocab_size: int = 50265
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str | Callable[..., Any] = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-12
    projection_dim: int = 512
    pad_token_id: int = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    position_embedding_type: str = "absolute"
    use_cache: bool = True
    projection_hidden_act: str = "relu"


class ClapAudioConfig(TowerConfig):
    """The audio tower: HTSAT, a Swin transformer over the log-mel spectrogram."""

    model_type = "clap_audio_model"
    part_name = "audio_config"

    window_size: int = 8
    num_mel_bins: int = 64
    spec_size: int = 256
    hidden_act: str | Callable[..., Any] = "gelu"
    patch_size: int | list[int] = 4
    patch_stride: int | list[int] = [4, 4]  # noqa: RUF012
    num_classes: int = 527
    hidden_size: int = 768
    projection_dim: int = 512
    depths: list[int] = [2, 2, 6, 2]  # noqa: RUF012
    num_attention_heads: int | list[int] = [4, 8, 16, 32]  # noqa: RUF012
    enable_fusion: bool = False
    hidden_dropout_prob: float = 0.1
    fusion_type: str | None = None
    patch_embed_input_channels: int = 1
    flatten_patch_embeds: bool = True
    patch_embeds_hidden_size: int = 96
    enable_patch_layer_norm: bool = True
    drop_path_rate: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    qkv_bias: bool = True
    mlp_ratio: float = 4.0
    aff_block_r: int = 4
    num_hidden_layers: int = 4
    projection_hidden_act: str = "relu"
    layer_norm_eps: float = 1e-5

    @property
    def stage_heads(self) -> list[int]:
        """Attention heads of each stage: `num_attention_heads`, of which one number stands for all stages."""
        heads = self.num_attention_heads
        return [heads] * len(self.depths) if isinstance(heads, int) else heads


class ClapConfig(PretrainedConfig):
    """Both towers and what joins them. `projection_dim` and `projection_hidden_act` are passed on to the towers."""

    model_type = "clap"

    text_config: ClapTextConfig
    audio_config: ClapAudioConfig
    logit_scale_init_value: float = 1 / 0.07
    projection_dim: int = 512
    projection_hidden_act: str = "relu"

    hidden_size: int  # of the text tower
    num_hidden_layers: int  # of both towers: layers of the one, stages of the other

    def __init__(
        self,
        text_config: dict[str, Any] | ClapTextConfig | None = None,
        audio_config: dict[str, Any] | ClapAudioConfig | None = None,
        **values: Any,
    ) -> None:
        text = part(ClapTextConfig, "text_config", text_config)
        audio = part(ClapAudioConfig, "audio_config", audio_config)
        values["hidden_size"] = text.hidden_size
        values["num_hidden_layers"] = text.num_hidden_layers + len(audio.depths)
        super().__init__(text_config=text, audio_config=audio, **values)
        for tower in (text, audio):
            tower.projection_dim = self.projection_dim
            tower.projection_hidden_act = self.projection_hidden_act

    @classmethod
    def from_text_audio_configs(
        cls, text_config: ClapTextConfig, audio_config: ClapAudioConfig, **values: Any
    ) -> Self:
        """Join the configurations of two towers (copies of them)."""
        return cls(text_config=text_config, audio_config=audio_config, **values)


def part(tower: type[Tower], name: str, value: object) -> Tower:
    """A tower's configuration of its own, from a dictionary, another configuration or nothing (all defaults)."""
    if value is None:
        return tower()
    if isinstance(value, tower):
        return tower.from_dict(value.to_dict())
    if isinstance(value, dict):
        return tower.from_dict(value)
    raise TypeError(
        f"ClapConfig.{name} must be a dict or a {tower.__name__}, not {value!r} ({type(value).__name__})"
    )
