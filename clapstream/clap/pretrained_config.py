"""What the configurations share: checked fields, dictionaries and files.

A configuration checks the type of every documented field, also on assignment. Keys that it does not know are kept,
so that nothing of a published `config.json` gets lost when it is written again.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self, get_origin, get_type_hints

from clapstream.clap.checkpoint_files import read_json, write_json
from clapstream.clap.field_types import describe, matches, refuse_functions
from clapstream.clap.hub import CheckpointError, CheckpointSource, split_options

CONFIG_NAME = "config.json"


class PretrainedConfig:
    """The part that the three configurations share: checked fields, dictionaries and files.

    Class-level annotations are the documented fields; a TypeError names the field that has the wrong type.
    """

    model_type: ClassVar[str] = ""
    documented: ClassVar[dict[str, Any]] = {}
    """Fields of the class and their types."""

    is_composition: ClassVar[bool] = False
    torchscript: ClassVar[bool] = False
    """Set it for one configuration, and its models return tuples: the name in transformers for being traced."""

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
            old_name = values.pop("torch_dtype")
            values.setdefault("dtype", old_name)
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

    @property
    def torch_dtype(self) -> Any:
        """`dtype` as a type of torch, by its name before transformers 4.56."""
        if self.dtype is None:
            return None
        import torch

        return getattr(torch, self.dtype, None)

    @torch_dtype.setter
    def torch_dtype(self, value: Any) -> None:
        self.dtype = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__} {json.dumps(self.to_dict(), indent=2, sort_keys=True, default=repr)}"

    @property
    def use_return_dict(self) -> bool:
        """Whether models return output objects rather than tuples when the call does not say."""
        return self.return_dict and not self.torchscript

    @property
    def num_labels(self) -> int:
        """The number of classes of a classification head on top of a tower."""
        return len(getattr(self, "id2label", (0, 1)))

    @num_labels.setter
    def num_labels(self, value: int) -> None:
        self.id2label = {number: f"LABEL_{number}" for number in range(value)}
        self.label2id = {name: number for number, name in self.id2label.items()}

    def to_dict(self) -> dict[str, Any]:
        """Every field and every kept key, as values that JSON can hold (a function by itself, which it cannot)."""
        values = {
            name: value.to_dict() if isinstance(value, PretrainedConfig) else copy.deepcopy(value)
            for name, value in self.__dict__.items()
        }
        return {"model_type": self.model_type, **values}

    def to_diff_dict(self) -> dict[str, Any]:
        """The part of `to_dict` that is not the default."""
        defaults = type(self)().to_dict()
        return {
            name: value
            for name, value in self.to_dict().items()
            if name == "model_type" or name not in defaults or value != defaults[name]
        }

    def to_json_string(self, use_diff: bool = True) -> str:
        """As JSON what is not the default, or everything; TypeError for a function, which JSON cannot hold."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        refuse_functions(values)
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | PathLike[str], use_diff: bool = True) -> None:
        """Write `to_json_string` to a file."""
        Path(json_file_path).write_text(self.to_json_string(use_diff), encoding="utf-8")

    @classmethod
    def from_json_file(cls, json_file: str | PathLike[str]) -> Self:
        """Read what `to_json_file` wrote."""
        return cls.from_dict(read_json(Path(json_file)))

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set several fields; a dictionary for a tower's configuration replaces that, as in transformers."""
        for name, value in config_dict.items():
            setattr(self, name, value)

    def has(self, name: str) -> bool:
        """Whether this is a field, or a key that was kept."""
        return (
            name in self.documented or name in self.__dict__ or name in ("torch_dtype", "torchscript", "num_labels")
        )

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **overrides: Any) -> Self:
        """Build from `to_dict` or a parsed `config.json`; `overrides` win."""
        overrides = {"dtype" if name == "torch_dtype" else name: value for name, value in overrides.items()}
        return cls(**{**config_dict, **overrides})

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write `config.json` into a directory, which is made if it is missing.

        Raises:
            TypeError: a field holds a function, which a file cannot.
        """
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        values = self.to_dict()
        refuse_functions(values)
        write_json(directory / CONFIG_NAME, values)

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
