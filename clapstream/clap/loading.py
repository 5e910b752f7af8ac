"""Copies a checkpoint's tensors into a model, with every key accounted for and every shape checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from clapstream.clap.arguments import warn
from clapstream.clap.hub import CheckpointError
from clapstream.clap.weights import Weights

PARTS = ("text_model.", "text_projection.", "audio_model.", "audio_projection.", "logit_scale_a", "logit_scale_t")
"""What a whole CLAP's checkpoint consists of. A model that has only some of them leaves the others unread."""

CONSTANTS = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
"""Buffers that the constructor computes. Some versions of transformers stored them, some did not."""

UNUSED = ("pooler.dense.weight", "pooler.dense.bias")
"""What a checkpoint may have beyond the model: the pooler, for a text tower built without one."""


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


class KeyMatch(NamedTuple):
    """Which stored key belongs to which name of the model, and what is left over on either side."""

    keys: dict[str, str]
    missing: list[str]
    unexpected: list[str]


class Mismatch(NamedTuple):
    """A tensor of another shape than the model's, by the model's name."""

    name: str
    stored: tuple[int, ...]
    expected: tuple[int, ...]


class LoadingReport(NamedTuple):
    """What could not be loaded: the model's names, stored keys, and tensors of other shapes."""

    missing: list[str]
    unexpected: list[str]
    mismatched: list[Mismatch]

    @property
    def unfilled(self) -> list[str]:
        """The model's names that got no value."""
        return [*self.missing, *(mismatch.name for mismatch in self.mismatched)]

    def as_dict(self) -> dict[str, list[Any]]:
        """By the names that transformers gives them."""
        return {
            "missing_keys": self.missing,
            "unexpected_keys": self.unexpected,
            "mismatched_keys": [tuple(mismatch) for mismatch in self.mismatched],
            "error_msgs": [],
        }


def load(
    model: nn.Module,
    weights: Weights,
    subtree: str = "",
    *,
    lenient: bool = False,
    ignore_mismatched_sizes: bool = False,
) -> LoadingReport:
    """Copy a checkpoint's tensors into a model, one at a time, converting them to the model's precision.

    `subtree` is the model's prefix in a whole CLAP's checkpoint. `lenient` only reports missing and unexpected
    keys, `ignore_mismatched_sizes` only reports tensors of other shapes, with a warning.

    Raises:
        CheckpointError: a key is missing, unexpected, of the wrong shape or of another kind of number.
    """
    state = model.state_dict()
    if lenient:
        match = compare_keys(state.keys(), weights.shapes.keys(), subtree)
    else:
        match = KeyMatch(match_keys(state.keys(), weights.shapes.keys(), subtree, weights.location), [], [])
    mismatched = []
    with torch.no_grad():
        for name, key in match.keys.items():
            found, expected = weights.shapes[key], tuple(state[name].shape)
            if found != expected:
                message = f"{weights.path(key)}: {key} has shape {found}, the configuration asks for {expected}"
                if not ignore_mismatched_sizes:
                    raise CheckpointError(message)
                warn(f"{message}; it is newly initialised")
                mismatched.append(Mismatch(name, found, expected))
                continue
            tensor = weights.read(key)
            if tensor.is_floating_point() != state[name].is_floating_point():
                raise CheckpointError(f"{weights.path(key)}: {key} holds {tensor.dtype}, not {state[name].dtype}")
            state[name].copy_(tensor)
    return LoadingReport(match.missing, match.unexpected, mismatched)


def fill(model: nn.Module, names: Iterable[str], build: Callable[[], nn.Module]) -> None:
    """Give new initial values, those of a model that `build` makes, to what a checkpoint did not fill."""
    names = list(names)
    if names:
        state, initial = model.state_dict(), build().state_dict()
        with torch.no_grad():
            for name in names:
                state[name].copy_(initial[name])


def compare_keys(names: Iterable[str], stored: Iterable[str], subtree: str) -> KeyMatch:
    """Which stored key belongs to which name of the model; `subtree` is the model's prefix in a whole CLAP."""
    stored = set(stored)
    if not any(subtree and key.startswith(subtree) for key in stored):
        subtree = ""
    keys = {name: subtree + name for name in names if subtree + name in stored or not name.endswith(CONSTANTS)}
    own_parts = {part for part in PARTS if any(key.startswith(part) for key in keys.values())}
    others = tuple(part for part in PARTS if part not in own_parts)
    unexpected = sorted(
        key
        for key in stored - set(keys.values())
        if not key.startswith(others) and not key.endswith((*CONSTANTS, *UNUSED))
    )
    found = {name: key for name, key in keys.items() if key in stored}
    return KeyMatch(found, [name for name in keys if name not in found], unexpected)


def match_keys(names: Iterable[str], stored: Iterable[str], subtree: str, location: Path) -> dict[str, str]:
    """As `compare_keys`, where nothing is left over.

    Raises:
        CheckpointError: a name has no key, or a key has no place; the message names the file.
    """
    stored = set(stored)
    match = compare_keys(names, stored, subtree)
    if match.missing:
        prefix = subtree if any(subtree and key.startswith(subtree) for key in stored) else ""
        raise CheckpointError(f"{location}: has no {shorten(sorted(prefix + name for name in match.missing))}")
    if match.unexpected:
        raise CheckpointError(f"{location}: has keys that this model does not have: {shorten(match.unexpected)}")
    return match.keys


def shorten(keys: list[str]) -> str:
    """The first keys of a list, and how many more there are."""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more
