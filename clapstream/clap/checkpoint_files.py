"""A checkpoint's files: names of the tokenizer's, reading JSON, and writing whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from clapstream.clap.hub import CheckpointError

TOKENIZER_NAME = "tokenizer.json"
VOCABULARY_NAME = "vocab.json"
MERGES_NAME = "merges.txt"
SETTINGS_NAME = "tokenizer_config.json"
SPECIAL_TOKENS_NAME = "special_tokens_map.json"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        CheckpointError: it holds anything else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: must hold a JSON object, not {type(values).__name__}")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object readably; the file appears whole or not at all."""
    write_whole(path, (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that a reader never sees half of it; raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        written.chmod(0o644)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
