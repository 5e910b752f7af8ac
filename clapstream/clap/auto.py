"""The Auto classes of transformers, as far as CLAP is concerned: `from_pretrained` picks the class to load."""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.checkpoint_files import read_json
from clapstream.clap.config import ClapAudioConfig, ClapConfig, ClapTextConfig
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError, CheckpointSource, split_options
from clapstream.clap.loading_options import check_options, parse_dtype
from clapstream.clap.model import ClapModel
from clapstream.clap.pretrained_config import CONFIG_NAME, PretrainedConfig
from clapstream.clap.processor import ClapProcessor
from clapstream.clap.text import ClapTextModel
from clapstream.clap.tokenizer import ClapTokenizer

MODELS: dict[type[PretrainedConfig], type[PretrainedModel[Any]]] = {
    ClapConfig: ClapModel,
    ClapTextConfig: ClapTextModel,
    ClapAudioConfig: ClapAudioModel,
}
Name = str | PathLike[str]


class Auto:
    """What the factories share: there are no instances of them."""

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} has no instances; call {type(self).__name__}.from_pretrained")


class AutoConfig(Auto):
    """The configuration of whichever model a checkpoint holds."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Name, **options: Any) -> PretrainedConfig:
        """As `from_pretrained` of the configuration that the checkpoint's `model_type` names.

        Raises:
            CheckpointError: it is the configuration of another kind of model, or there is none.
        """
        where, _ = split_options(options)
        path = CheckpointSource(pretrained_model_name_or_path, **where).require(CONFIG_NAME)
        model_type = read_json(path).get("model_type")
        for config in MODELS:
            if model_type == config.model_type:
                return config.from_pretrained(pretrained_model_name_or_path, **options)
        known = ", ".join(config.model_type for config in MODELS)
        raise CheckpointError(f"{path}: model_type is {model_type!r}, expected one of {known}")


class AutoModel(Auto):
    """The model without a head: `ClapModel`, or a tower where a checkpoint holds only that."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Name, **options: Any) -> PretrainedModel[Any]:
        """As `from_pretrained` of the model that the checkpoint's `model_type` names."""
        where, _ = split_options(options)
        config = options.get("config")
        if not isinstance(config, PretrainedConfig):
            config = AutoConfig.from_pretrained(
                pretrained_model_name_or_path if config is None else config, **where
            )
        return MODELS[type(config)].from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def from_config(
        cls,
        config: PretrainedConfig,
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> PretrainedModel[Any]:
        """A model with random weights, of the precision `dtype` (`torch_dtype` before transformers 4.56).

        `options` are those of `check_options`, or go to the constructor.

        Raises:
            TypeError: a configuration of another kind, or an option that is not supported.
        """
        if type(config) not in MODELS:
            raise TypeError(f"config must be one of CLAP's configurations, not {type(config).__name__}")
        _, arguments = split_options(check_options(options))
        asked = torch_dtype if dtype is None else dtype
        return MODELS[type(config)](config, **arguments).to(parse_dtype(config.dtype if asked is None else asked))


class AutoProcessor(Auto):
    """CLAP's processor."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Name, **options: Any) -> ClapProcessor:
        """As `ClapProcessor.from_pretrained`."""
        return ClapProcessor.from_pretrained(pretrained_model_name_or_path, **options)


class AutoFeatureExtractor(Auto):
    """CLAP's feature extractor."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Name, **options: Any) -> ClapFeatureExtractor:
        """As `ClapFeatureExtractor.from_pretrained`."""
        return ClapFeatureExtractor.from_pretrained(pretrained_model_name_or_path, **options)


class AutoTokenizer(Auto):
    """CLAP's tokenizer."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Name, **options: Any) -> ClapTokenizer:
        """As `ClapTokenizer.from_pretrained`."""
        return ClapTokenizer.from_pretrained(pretrained_model_name_or_path, **options)
