"""A tiny checkpoint on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_checkpoint import write_small_checkpoint


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    write_small_checkpoint(directory)
    return directory


@pytest.fixture
def checkpoint(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    for path in written.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory
