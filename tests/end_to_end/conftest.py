"""Fixtures of the tests that run the whole of clapstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.clapstream_process import ClapstreamProcess


@pytest.fixture
def start_clapstream(tmp_path: Path) -> Iterator[Callable[[dict[str, object]], ClapstreamProcess]]:
    """Starts clapstream processes and sees to it that they end."""
    started: list[ClapstreamProcess] = []

    def start(settings: dict[str, object]) -> ClapstreamProcess:
        process = ClapstreamProcess(tmp_path, settings)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.close()
