"""How long whole processes take from start to first score."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.environment import share_path
from benchmarks.measurements import Start
from benchmarks.sounds import window

STARTS = ("transformers", "clapstream cold", "clapstream cached")
"""The first is what the others are compared with; a cold start has to embed the labels."""


def compare_starts(name: str, checkpoint: Path, rounds: int) -> list[Start]:
    """All kinds of start in turn; the files are in the page cache for all."""
    starts = {what: Start(what, name) for what in STARTS}
    with tempfile.TemporaryDirectory() as cache:
        sound = Path(cache, "window.npy")
        np.save(sound, window(0))
        time_start("clapstream", checkpoint, Path(cache), sound)  # fills the cache
        for _ in range(rounds):
            for what, start in starts.items():
                directory = tempfile.mkdtemp(dir=cache) if what.endswith("cold") else cache
                seconds, peak_mb = time_start(what.split()[0], checkpoint, Path(directory), sound)
                start.seconds.append(seconds)
                start.peak_mb = max(start.peak_mb, peak_mb)
    return list(starts.values())


def time_start(what: str, checkpoint: Path, cache: Path, sound: Path) -> tuple[float, float]:
    """Seconds from the start of a process to its first score, and its peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.first_score", what, str(checkpoint), str(cache), str(sound)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=share_path()) as process:
        assert process.stdout is not None
        peak_mb = process.stdout.readline()
        seconds = time.perf_counter() - started
    if process.returncode != 0:
        raise SystemExit(f"{what}: first score failed with exit code {process.returncode}")
    return seconds, float(peak_mb)
