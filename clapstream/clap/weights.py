"""Reads and writes state dicts: safetensors and PyTorch's pickles, in one file or in shards.

A tensor is read when it is asked for, so that a tower can be loaded without the other one's memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor

from clapstream.clap.checkpoint_files import read_json, write_whole
from clapstream.clap.hub import CheckpointError, CheckpointSource
from clapstream.clap.weight_files import open_pickle, open_safetensors, refuse_other_files, require_tensors

SAFETENSORS_NAME = "model.safetensors"
PICKLE_NAME = "pytorch_model.bin"


class Weights(Protocol):
    """Tensors by key, in one file or several; `location` is the file or the index of several."""

    location: Path

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Every key with its tensor's shape."""

    def path(self, key: str) -> Path:
        """The file that holds a key, for messages."""

    def read(self, key: str) -> Tensor:
        """One tensor, on the CPU."""


class SafetensorsFile:
    """A safetensors file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.location = path
        self._file = open_safetensors(path)
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(self._file.get_slice(key).get_shape())
            for key in self._file.keys()  # noqa: SIM118  # not iterable itself
        }

    def path(self, key: str) -> Path:
        """The file itself."""
        return self.location

    def read(self, key: str) -> Tensor:
        """One tensor, backed by the mapped file."""
        tensor: Tensor = self._file.get_tensor(key)
        return tensor


class StateDict:
    """Tensors in memory, as a file held them."""

    def __init__(self, location: Path, tensors: Mapping[str, Any]) -> None:
        require_tensors(location, tensors)
        self.location = location
        self._tensors = tensors
        self.shapes: Mapping[str, tuple[int, ...]] = {key: tuple(value.shape) for key, value in tensors.items()}

    def path(self, key: str) -> Path:
        """The file they came from."""
        return self.location

    def read(self, key: str) -> Tensor:
        """One tensor."""
        tensor: Tensor = self._tensors[key]
        return tensor


class Shards:
    """Several files and the index of the keys in each."""

    def __init__(self, source: CheckpointSource, index: Path) -> None:
        self.location = index
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(f"{index}: has no weight_map")
        files = {name: self._open(source, index, name) for name in sorted(set(map(str, weight_map.values())))}
        self._files = {key: files[str(name)] for key, name in weight_map.items()}
        for key, file in self._files.items():
            if key not in file.shapes:
                raise CheckpointError(f"{file.path(key)}: has no {key}, which {index.name} lists in it")
        self.shapes: Mapping[str, tuple[int, ...]] = {key: file.shapes[key] for key, file in self._files.items()}

    @staticmethod
    def _open(source: CheckpointSource, index: Path, name: str) -> Weights:
        if Path(name).name != name:
            raise CheckpointError(f"{index}: {name!r} is not a file name")
        path = source.find(name)
        if path is None:
            raise CheckpointError(f"{index}: {name}, which it names, is missing")
        return open_file(path)

    def path(self, key: str) -> Path:
        """The shard that holds a key."""
        return self._files[key].path(key)

    def read(self, key: str) -> Tensor:
        """One tensor from its shard."""
        return self._files[key].read(key)


def weights_names(use_safetensors: bool | None = None, variant: str | None = None) -> list[str]:
    """Where weights are looked for; the first that exists is taken. `variant` ("fp16" say) is part of the names."""
    kinds = {True: [SAFETENSORS_NAME], False: [PICKLE_NAME], None: [SAFETENSORS_NAME, PICKLE_NAME]}[use_safetensors]
    if variant is None:
        return [name for kind in kinds for name in (kind, f"{kind}.index.json")]
    parts = [kind.rpartition(".") for kind in kinds]
    return [
        name
        for stem, _, ending in parts
        for name in (f"{stem}.{variant}.{ending}", f"{stem}.{ending}.index.{variant}.json")
    ]


def open_weights(
    source: CheckpointSource, use_safetensors: bool | None = None, variant: str | None = None
) -> Weights:
    """The weights of a checkpoint, in whichever of the known forms it has them.

    `use_safetensors` says which form alone will do; with `variant` the files have that in their names.

    Raises:
        CheckpointError: there are none, or a file is damaged or something else altogether.
    """
    path = source.require(*weights_names(use_safetensors, variant))
    return Shards(source, path) if path.suffix == ".json" else open_file(path)


def open_file(path: Path) -> Weights:
    """One file of weights, by the ending of its name."""
    refuse_other_files(path)
    return SafetensorsFile(path) if path.suffix == ".safetensors" else StateDict(path, open_pickle(path))


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors or, by the file's name, as a pickle, whole or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if path.suffix == ".safetensors":
        write_whole(path, save(tensors, metadata={"format": "pt"}))  # "format" is what transformers insists on
    else:
        content = io.BytesIO()
        torch.save(tensors, content)
        write_whole(path, content.getvalue())
