"""Configurations of CLAP and its two towers: the arguments and defaults of Hugging Face's CLAP documentation.

A configuration checks the type of every documented field, also on assignment. Keys that it does not know are kept,
so that nothing of a published `config.json` gets lost when it is written again.
"""

from __future__ import annotations

import json
import types
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from clapstream.clap.hub import CheckpointError, CheckpointSource, read_json, split_options, write_json

CONFIG_NAME = "config.json"
Tower = TypeVar("Tower", bound="PretrainedConfig")


class PretrainedConfig:
    """The part that the three configurations share: checked fields, dictionaries and files.

    Class-level annotations are the documented fields; a TypeError names the field that has the wrong type.
    """

    model_type: ClassVar[str] = ""
    documented: ClassVar[dict[str, Any]] = {}
    """Fields of the class and their types."""

    architectures: list[str] | None = None
    dtype: str | None = None  # the precision to load weights in; a checkpoint may store them in fewer bits
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    initializer_factor: float = 1.0

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls)
        cls.documented = {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}

    def __init__(self, **values: Any) -> None:
        values.pop("model_type", None)
        if "torch_dtype" in values:  # the name before transformers 4.56
            values.setdefault("dtype", values.pop("torch_dtype"))
        for name in self.documented:
            setattr(self, name, values.pop(name) if name in values else getattr(type(self), name))
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        value = list(value) if isinstance(value, (list, tuple)) else value  # a list of its own
        if name == "dtype" and value is not None:
            value = str(value).removeprefix("torch.")
        hint = self.documented.get(name)
        if hint is not None and not matches(value, hint):
            raise TypeError(
                f"{type(self).__name__}.{name} must be {describe(hint)}, not {value!r} ({type(value).__name__})"
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True)}"

    @property
    def use_return_dict(self) -> bool:
        """Whether models return output objects rather than tuples when the call does not say."""
        return self.return_dict

    def to_dict(self) -> dict[str, Any]:
        """Every field and every kept key, as values that JSON can hold."""
        values = {
            name: value.to_dict() if isinstance(value, PretrainedConfig) else value
            for name, value in self.__dict__.items()
        }
        return {"model_type": self.model_type, **values}

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **overrides: Any) -> Self:
        """Build from `to_dict` or a parsed `config.json`; `overrides` win."""
        return cls(**{**config_dict, **overrides})

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write `config.json` into a directory, which is made if it is missing."""
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / CONFIG_NAME, self.to_dict())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Self:
        """Read `config.json` of a directory, a hub id or "bundled".

        `options` are those of `SourceOptions`; others are fields to set instead of what the file says.

        Raises:
            CheckpointError: it is missing, no JSON, of another kind of model or has a field of a wrong type.
        """
        where, overrides = split_options(options)
        config = cls.from_source(CheckpointSource(pretrained_model_name_or_path, **where))
        return cls.from_dict(config.to_dict(), **overrides) if overrides else config

    @classmethod
    def from_source(cls, source: CheckpointSource) -> Self:
        """Read `config.json` where `source` points to; a tower finds its part in a whole CLAP's."""
        path = source.require(CONFIG_NAME)
        values = read_json(path)
        try:
            return cls.select(values)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error

    @classmethod
    def select(cls, values: dict[str, Any]) -> Self:
        """Build from a parsed `config.json`, refusing one that belongs to another kind of model."""
        found = values.get("model_type", cls.model_type)
        if found != cls.model_type:
            raise ValueError(f"model_type is {found!r}, expected {cls.model_type!r}")
        return cls.from_dict(values)


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
    hidden_act: str = "gelu"
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
    hidden_act: str = "gelu"
    patch_size: int | list[int] = 4
    patch_stride: int | list[int] = [4, 4]  # noqa: RUF012
    num_classes: int = 527
    hidden_size: int = 768
    projection_dim: int = 512
    depths: list[int] = [2, 2, 6, 2]  # noqa: RUF012
    num_attention_heads: list[int] = [4, 8, 16, 32]  # noqa: RUF012
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


def matches(value: object, hint: Any) -> bool:
    """Whether a value is of a field's type: an int passes for a float, a bool never for a number."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(matches(value, option) for option in get_args(hint))
    if get_origin(hint) is list:
        return isinstance(value, list) and all(matches(item, get_args(hint)[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def describe(hint: Any) -> str:
    """A field's type as a person would write it."""
    return (
        hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("None", "null")
    )
