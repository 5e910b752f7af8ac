"""Opens single files of weights; the error explains why a file cannot be read."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from clapstream.clap.hub import CheckpointError

OLD_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How files of torch.save before PyTorch 1.6 begin; newer ones are zip archives."""


def refuse_other_files(path: Path) -> None:
    """Raise CheckpointError for what failed downloads leave behind: nothing, web pages and pointer files."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        raise CheckpointError(f"{path}: is empty")
    if start.startswith(b"<"):
        raise CheckpointError(f"{path}: is a web page, not weights; the download went wrong")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not weights; fetch it with git lfs pull")


def open_safetensors(path: Path) -> Any:
    """The library's handle on a file, whose header it has checked against the file's length.

    Raises:
        CheckpointError: the file is damaged or something else.
    """
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise CheckpointError(f"{path}: {explain_safetensors(path, error)}") from error


def open_pickle(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, if it is a dictionary and holds no code; mapped into memory where that is possible.

    Raises:
        CheckpointError: it is neither, or the file is damaged.
    """
    zipped = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        start = file.read(len(OLD_PICKLE))
    if not zipped and start != OLD_PICKLE:
        fault = "is truncated" if start.startswith(b"PK") else "was not written by torch.save"
        raise CheckpointError(f"{path}: {fault}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{path}: is damaged or holds more than tensors: {reason}") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: must hold a state dict, not {type(content).__name__}")
    return content


def require_tensors(location: Path, tensors: Mapping[str, Any]) -> None:
    """Raise CheckpointError naming the first value that is not a tensor."""
    for key, value in tensors.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{location}: {key} must be a tensor, not {type(value).__name__}")


def explain_safetensors(path: Path, error: SafetensorError) -> str:
    """What is wrong with a safetensors file: the first tensor that is cut off, or the library's own words."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length) if length < size else b"")
        ends = {
            key: 8 + length + entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"
        }
    except (ValueError, struct.error, KeyError, TypeError, AttributeError):
        return f"is truncated or not a safetensors file: {error}"
    cut = min((key for key, end in ends.items() if end > size), key=lambda key: ends[key], default=None)
    if cut is None:
        return f"is damaged: {error}"
    return f"is truncated: {cut} would end at byte {ends[cut]}, the file at byte {size}"
