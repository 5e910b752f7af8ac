"""Models that load from and save to a checkpoint, with every key accounted for and every shape checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from clapstream.clap.arguments import refuse_by_name, refuse_unknown
from clapstream.clap.hub import CheckpointError, CheckpointSource, SourceOptions, split_options
from clapstream.clap.loading import SkipInitialisation, fill, load
from clapstream.clap.loading_options import check_options, choose_dtype, move, refuse_meta
from clapstream.clap.preparable import PreparedModule
from clapstream.clap.pretrained_config import PretrainedConfig
from clapstream.clap.resizing import WordEmbeddings
from clapstream.clap.weights import PICKLE_NAME, SAFETENSORS_NAME, StateDict, open_weights, write_weights

Config = TypeVar("Config", bound=PretrainedConfig)

ENCODER = "the text tower is an encoder"
REFUSED_FIELDS = {
    "is_decoder": ENCODER,
    "is_encoder_decoder": ENCODER,
    "add_cross_attention": ENCODER,
    "pruned_heads": "torch.nn.utils.prune prunes a loaded model",
    "quantization_config": "only floating-point weights are loaded",
}
"""Fields that transformers' configurations have for all models, and why they must not be set here."""

REFUSED_IN_SAVING = {
    "push_to_hub": "upload the directory with huggingface_hub",
    "max_shard_size": "a checkpoint is written as one file",
    "variant": "the files have their usual names",
}


class PretrainedModel(WordEmbeddings, Generic[Config]):
    """A module built from a configuration. A subclass's constructor ends with `self.post_init()`."""

    config_class: ClassVar[type[PretrainedConfig]]
    subtree: ClassVar[str] = ""
    """Prefix of this model's keys inside a whole CLAP's checkpoint; empty where the names are the same."""

    base_model_prefix: ClassVar[str] = "clap"
    main_input_name: ClassVar[str]
    """The argument that a call begins with."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.main_input_name = list(inspect.signature(cls.forward).parameters)[1]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, not {type(config).__name__}"
            )
        refuse_by_name(vars(config), REFUSED_FIELDS, ValueError)
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return next(self.parameters()).dtype

    def post_init(self) -> None:
        """Draw the initial weights as Hugging Face's CLAP does; a model inside this one has drawn its own."""
        for module in own_modules(self):
            self._initialise(module)

    def _initialise(self, module: nn.Module) -> None:
        factor = self.config.initializer_factor
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=factor * 0.02)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            config: Any = self.config
            nn.init.normal_(module.weight, std=factor * (2 * config.hidden_size * config.num_hidden_layers) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the parameters hold, those that were packed for inference included."""
        excluded = set()
        if exclude_embeddings:
            excluded = {id(module.weight) for module in self.modules() if isinstance(module, nn.Embedding)}
        packed = sum(module.packed_numbers for module in self.modules() if isinstance(module, PreparedModule))
        return (0 if only_trainable else packed) + sum(
            parameter.numel()
            for parameter in self.parameters()
            if id(parameter) not in excluded and (parameter.requires_grad or not only_trainable)
        )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str] | None,
        *,
        config: Config | str | PathLike[str] | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        device_map: Any = None,
        use_safetensors: bool | None = None,
        variant: str | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        **options: Any,
    ) -> Self:
        """Load a directory's, a hub id's or the "bundled" checkpoint, in evaluation mode.

        Weights are converted to `dtype` (`torch_dtype` before transformers 4.56), by default the configuration's
        and float32 if that says nothing; "auto" then is how they are stored. `state_dict` takes the place of the
        file. `device_map` names one device. With `output_loading_info` missing and unexpected keys are not errors,
        and the second of two results tells them; `ignore_mismatched_sizes` initialises what has another shape.
        `options` are those of `SourceOptions`, fields of the configuration to set, or go to the constructor.

        Raises:
            CheckpointError: a file is missing, damaged or does not fit; the message names the file and the key.
            TypeError: an option that is not supported; the message names it.
            RuntimeError: the default device is "meta", which holds no weights.
        """
        where, rest = split_options(check_options(options))
        name = pretrained_model_name_or_path
        chosen = cls._choose_config(config, name, where)
        overrides = {key: value for key, value in rest.items() if chosen.has(key)}
        if overrides:
            chosen = type(chosen).from_dict(chosen.to_dict(), **overrides)

        arguments = {key: value for key, value in rest.items() if key not in overrides}
        build = functools.partial(cls, chosen, **arguments)  # type: ignore[arg-type]
        with SkipInitialisation():
            try:
                model: Self = build()
            except ValueError as error:
                raise CheckpointError(f"{name}: {error}") from error
        if state_dict is None:
            weights = open_weights(checkpoint_source(name, where), use_safetensors, variant)
        else:
            weights = StateDict(Path("state_dict"), state_dict)
        refuse_meta(model)
        model.to(choose_dtype(torch_dtype if dtype is None else dtype, chosen.dtype, weights))
        report = load(
            model,
            weights,
            cls.subtree,
            lenient=output_loading_info,
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
        fill(model, report.unfilled, build)
        move(model, device_map)
        model.eval()
        if output_loading_info:
            return model, report.as_dict()  # type: ignore[return-value]  # on request only
        return model

    @classmethod
    def _choose_config(
        cls, config: Config | str | PathLike[str] | None, name: str | PathLike[str] | None, where: SourceOptions
    ) -> PretrainedConfig:
        """The configuration itself, one by its directory or hub id, or the checkpoint's own."""
        if isinstance(config, PretrainedConfig):
            return config
        if config is not None and not isinstance(config, (str, PathLike)):
            raise TypeError(f"config must be a {cls.config_class.__name__}, not {type(config).__name__}")
        return cls.config_class.from_source(checkpoint_source(name if config is None else config, where))

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        is_main_process: bool = True,
        state_dict: Mapping[str, Tensor] | None = None,
        *,
        safe_serialization: bool = True,
        **options: Any,
    ) -> None:
        """Write `config.json` and `model.safetensors` into a directory, as transformers reads them.

        `state_dict` takes the place of the model's own, and without `safe_serialization` it is a pickle. Only the
        main one of several processes writes.

        Raises:
            TypeError: an option that is not supported; the message names it.
        """
        refuse_by_name(options, REFUSED_IN_SAVING)
        refuse_unknown(options, REFUSED_IN_SAVING)
        if not is_main_process:
            return
        directory = Path(save_directory)
        dtype = str(self.dtype).removeprefix("torch.")
        described = type(self.config).from_dict(
            self.config.to_dict(), architectures=[type(self).__name__], dtype=dtype
        )
        described.save_pretrained(directory)
        name = SAFETENSORS_NAME if safe_serialization else PICKLE_NAME
        write_weights(directory / name, self.state_dict() if state_dict is None else state_dict)


def checkpoint_source(name: Any, where: SourceOptions) -> CheckpointSource:
    """Where a checkpoint is; TypeError for a value that cannot be a name, such as None."""
    return CheckpointSource(name, **where)


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules below a model, without those that belong to a model inside it."""
    found = []
    for child in model.children():
        if not isinstance(child, PretrainedModel):
            found += [child, *own_modules(child)]
    return found
