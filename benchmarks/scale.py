"""How many microphones one worker serves before windows are skipped: `python -m benchmarks.scale [-c FILE]`.

All parts are the daemon's own except the microphones and the sinks: blocks of noise arrive in real time and go
through the pipelines of as many sources to the one model worker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_processor
from benchmarks.simulated_sources import SimulatedMicrophone
from clapstream.audio.block import RATE_HZ
from clapstream.config import Settings, load_settings
from clapstream.process.threads import set_openmp_defaults
from clapstream.updates import SourceDiagnostics, Update


@dataclass(frozen=True, slots=True)
class Load:
    """What some microphones meant for the machine, over the measured seconds."""

    microphones: int
    windows_per_second: float
    windows: int
    skipped: int
    cores: float
    inference_ms: float
    latest_ms: float


class Counters:
    """The newest diagnostics of each source, as a sink would see them."""

    def __init__(self) -> None:
        self._newest: dict[str, SourceDiagnostics] = {}

    def publish(self, update: Update) -> None:
        """Keep diagnostics; nothing else is looked at."""
        if isinstance(update, SourceDiagnostics):
            self._newest[update.source.slug] = update

    def windows(self) -> tuple[int, int]:
        """How many windows were scored and skipped so far."""
        newest = self._newest.values()
        return sum(one.windows for one in newest), sum(one.skipped_windows for one in newest)

    def inference_ms(self) -> float:
        """How long the newest batches took, on average over the sources."""
        return float(np.mean([one.inference_ms for one in self._newest.values()]))


async def measure(settings: Settings, microphones: int, seconds: float) -> Load:
    """Listen to as many microphones, and measure for some seconds once each has had a whole window.

    Before that no features are reused, which costs more.
    """
    from benchmarks.listening import listening_live  # imports torch, see `main`

    noise = np.random.default_rng(0).standard_normal(20 * RATE_HZ, dtype=np.float32) * np.float32(0.05)
    hop_seconds = settings.window.hop_seconds
    sources = [SimulatedMicrophone(f"m{n}", noise, hop_seconds * n / microphones) for n in range(microphones)]
    counters = Counters()
    async with listening_live(sources, settings, counters.publish):
        await asyncio.sleep(settings.window.seconds + 1.0 + hop_seconds)
        windows, skipped = counters.windows()
        work, started = time.process_time(), time.perf_counter()
        for source in sources:
            source.latest_seconds = 0.0
        await asyncio.sleep(seconds)
        cores = (time.process_time() - work) / (time.perf_counter() - started)
        windows_after, skipped_after = counters.windows()
        latest_ms = max(source.latest_seconds for source in sources) * 1e3
    scored = windows_after - windows
    skipped = skipped_after - skipped
    return Load(microphones, scored / seconds, scored, skipped, cores, counters.inference_ms(), latest_ms)


def grow(settings: Settings, steps: Sequence[int], seconds: float) -> None:
    """Print a line for each number of microphones, until more than one window in a hundred is skipped."""
    print("microphones  windows/s  skipped  cores  inference ms  loop late by ms", flush=True)
    for microphones in steps:
        load = asyncio.run(measure(settings, microphones, seconds))
        print(
            f"{load.microphones:11d}  {load.windows_per_second:9.1f}  {load.skipped:7d}  {load.cores:5.2f}"
            f"  {load.inference_ms:12.1f}  {load.latest_ms:15.1f}",
            flush=True,
        )
        if load.skipped * 100 > load.windows:
            return


def main() -> None:
    """Grow until the worker falls behind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("-c", "--config", type=Path, help="clapstream.yaml, for model, labels and hop")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 8, 32, 64, 96, 128, 192, 256, 384, 512])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure each step")
    options = parser.parse_args()
    set_openmp_defaults()  # before torch is imported
    logging.disable(logging.WARNING)
    print(describe_processor())
    grow(load_settings(options.config), options.steps, options.seconds)
    os._exit(0)  # a worker that fell far behind may still be inside torch, where Python's exit would abort it


if __name__ == "__main__":
    main()
