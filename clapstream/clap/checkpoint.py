"""Models that load from and save to a checkpoint, with every key accounted for and every shape checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from clapstream.clap.config import PretrainedConfig
from clapstream.clap.gradient_checkpointing import GradientCheckpointing
from clapstream.clap.hub import CheckpointError, CheckpointSource, split_options
from clapstream.clap.inference_only import Preparable
from clapstream.clap.weights import SAFETENSORS_NAME, Weights, open_weights, write_weights

Config = TypeVar("Config", bound=PretrainedConfig)

PARTS = ("text_model.", "text_projection.", "audio_model.", "audio_projection.", "logit_scale_a", "logit_scale_t")
"""What a whole CLAP's checkpoint consists of. A model that has only some of them leaves the others unread."""

CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
"""Buffers that the constructor computes. Some versions of transformers stored them, some did not."""

UNUSED = ("pooler.dense.weight", "pooler.dense.bias")
"""What a checkpoint may have beyond the model: the pooler, for a text tower built without one."""


class PretrainedModel(Preparable, GradientCheckpointing, Generic[Config]):
    """A module built from a configuration. A subclass's constructor ends with `self.post_init()`."""

    config_class: ClassVar[type[PretrainedConfig]]
    subtree: ClassVar[str] = ""
    """Prefix of this model's keys inside a whole CLAP's checkpoint; empty where the names are the same."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, not {type(config).__name__}"
            )
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

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        config: Config | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> Self:
        """Load a directory's, a hub id's or the "bundled" checkpoint, in evaluation mode.

        Weights are converted to `dtype` (`torch_dtype` before transformers 4.56), by default the configuration's
        and float32 if that says nothing. `options` are those of `SourceOptions`; others go to the constructor.

        Raises:
            CheckpointError: a file is missing, damaged or does not fit; the message names the file and the key.
        """
        where, arguments = split_options(options)
        source = CheckpointSource(pretrained_model_name_or_path, **where)
        config = config or cls.config_class.from_source(source)  # type: ignore[assignment]
        with SkipInitialisation():
            try:
                model = cls(config, **arguments)  # type: ignore[arg-type]
            except ValueError as error:
                raise CheckpointError(f"{source.name}: {error}") from error
        model.to(parse_dtype(dtype or torch_dtype or model.config.dtype))
        load(model, open_weights(source))
        return model.eval()

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` into a directory, as transformers reads them."""
        directory = Path(save_directory)
        dtype = str(self.dtype).removeprefix("torch.")
        described = type(self.config).from_dict(
            self.config.to_dict(), architectures=[type(self).__name__], dtype=dtype
        )
        described.save_pretrained(directory)
        write_weights(directory / SAFETENSORS_NAME, self.state_dict())


class SkipInitialisation(TorchFunctionMode):
    """While it is entered, `torch.nn.init` leaves weights as they were allocated: loading fills every one."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules below a model, without those that belong to a model inside it."""
    found = []
    for child in model.children():
        if not isinstance(child, PretrainedModel):
            found += [child, *own_modules(child)]
    return found


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating-point type by itself or by name; float32 for None and "auto".

    Raises:
        ValueError: it is something else.
    """
    if dtype is None or dtype == "auto":
        return torch.float32
    parsed = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(parsed, torch.dtype) or not parsed.is_floating_point:
        raise ValueError(f"dtype {dtype!r} is no floating-point type of torch")
    return parsed


def load(model: PretrainedModel[Any], weights: Weights) -> None:
    """Copy a checkpoint's tensors into a model, one at a time, converting them to the model's precision.

    Raises:
        CheckpointError: a key is missing, superfluous, of the wrong shape or of another kind of number.
    """
    state = model.state_dict()
    keys = match_keys(state.keys(), weights.shapes.keys(), model.subtree, weights.location)
    with torch.no_grad():
        for name, key in keys.items():
            found, expected = weights.shapes[key], tuple(state[name].shape)
            if found != expected:
                raise CheckpointError(
                    f"{weights.path(key)}: {key} has shape {found}, the configuration asks for {expected}"
                )
            tensor = weights.read(key)
            if tensor.is_floating_point() != state[name].is_floating_point():
                raise CheckpointError(f"{weights.path(key)}: {key} holds {tensor.dtype}, not {state[name].dtype}")
            state[name].copy_(tensor)


def match_keys(names: Iterable[str], stored: Iterable[str], subtree: str, location: Path) -> Mapping[str, str]:
    """Which stored key belongs to which name of the model; `subtree` is the model's prefix in a whole CLAP.

    Raises:
        CheckpointError: a name has no key, or a key has no place; the message names the file.
    """
    stored = set(stored)
    if not any(subtree and key.startswith(subtree) for key in stored):
        subtree = ""
    keys = {name: subtree + name for name in names if subtree + name in stored or not name.endswith(CONSTANTS)}
    own_parts = {part for part in PARTS if any(key.startswith(part) for key in keys.values())}
    others = tuple(part for part in PARTS if part not in own_parts)
    missing = sorted(set(keys.values()) - stored)
    if missing:
        raise CheckpointError(f"{location}: has no {shorten(missing)}")
    superfluous = sorted(
        key
        for key in stored - set(keys.values())
        if not key.startswith(others) and not key.endswith((*CONSTANTS, *UNUSED))
    )
    if superfluous:
        raise CheckpointError(f"{location}: has keys that this model has not: {shorten(superfluous)}")
    return keys


def shorten(keys: list[str]) -> str:
    """The first keys of a list, and how many more there are."""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
