"""How many microphones one worker serves before windows are skipped: `python -m benchmarks.scale [-c FILE]`.

Everything of the daemon is real but the microphones and the sinks: blocks of noise arrive in real time and go
through the pipelines of as many sources to the one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.process.threads import set_openmp_defaults

set_openmp_defaults()

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened  # noqa: E402
from clapstream.config import Settings, load_settings  # noqa: E402
from clapstream.daemon.pipeline import SourcePipeline  # noqa: E402
from clapstream.detection.detector import DetectorRule  # noqa: E402
from clapstream.inference.labels import LabelEmbedder  # noqa: E402
from clapstream.inference.torch_engine import TorchEngine  # noqa: E402
from clapstream.inference.worker import ModelWorker  # noqa: E402
from clapstream.updates import SourceDiagnostics, Update  # noqa: E402

BLOCK_SAMPLES = RATE_HZ // 20
SETTLING_SECONDS = 11.0
"""Until every source has heard a whole window: before that no features are reused."""
MEASURED_SECONDS = 10.0


class SimulatedMicrophone:
    """Noise in real time, a block every 50 ms, beginning `offset` seconds late: sources do not march in step."""

    dropped_blocks = 0
    reconnects = 0
    silent = False

    def __init__(self, name: str, noise: NDArray[np.float32], offset: float) -> None:
        self.name = name
        self.latest = 0.0
        self._noise = noise
        self._offset = offset

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Blocks for ever; `latest` is by how many seconds the event loop was late at worst."""
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._offset)
        yield StreamOpened(datetime.now(UTC))
        started, frame = clock(), 0
        while True:
            due = started + (frame + BLOCK_SAMPLES) / RATE_HZ
            await asyncio.sleep(due - clock())
            self.latest = max(self.latest, clock() - due)
            place = frame % (len(self._noise) - BLOCK_SAMPLES)
            yield Block(frame, self._noise[place : place + BLOCK_SAMPLES])
            frame += BLOCK_SAMPLES


@dataclass(frozen=True, slots=True)
class Load:
    """What some microphones meant for the machine, over the measured seconds."""

    microphones: int
    windows: int
    skipped: int
    cores: float
    inference_ms: float
    latest_ms: float


async def serve(settings: Settings, microphones: int) -> Load:
    """Run as many sources with one worker."""
    noise = np.random.default_rng(0).standard_normal(20 * RATE_HZ, dtype=np.float32) * np.float32(0.05)
    hop = settings.window.hop_seconds
    sources = [SimulatedMicrophone(f"m{n}", noise, hop * n / microphones) for n in range(microphones)]
    newest: dict[str, SourceDiagnostics] = {}

    def publish(update: Update) -> None:
        if isinstance(update, SourceDiagnostics):
            newest[update.source.slug] = update

    def counts() -> tuple[int, int]:
        return sum(one.windows for one in newest.values()), sum(one.skipped_windows for one in newest.values())

    worker = ModelWorker(lambda: TorchEngine(settings.model, settings.cache_directory))
    ready = asyncio.Event()
    tasks = [asyncio.create_task(worker.run(lambda _: ready.set()))]
    await ready.wait()
    labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(settings.labels)
    for source in sources:
        pipeline = SourcePipeline(
            source,
            live=True,
            rule=DetectorRule(round(settings.window.seconds * RATE_HZ), round(hop * RATE_HZ)),
            worker=worker,
            publish=publish,
        )
        pipeline.use_labels(labels)
        tasks.append(asyncio.create_task(pipeline.run()))
    await asyncio.sleep(SETTLING_SECONDS + hop)
    windows, skipped = counts()
    work, started = time.process_time(), time.perf_counter()
    for source in sources:
        source.latest = 0.0
    await asyncio.sleep(MEASURED_SECONDS)
    cores = (time.process_time() - work) / (time.perf_counter() - started)
    windows_after, skipped_after = counts()
    latest = max(source.latest for source in sources)
    inference_ms = float(np.mean([one.inference_ms for one in newest.values()]))
    for task in reversed(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return Load(microphones, windows_after - windows, skipped_after - skipped, cores, inference_ms, latest * 1e3)


def grow(settings: Settings, steps: Sequence[int]) -> None:
    """Print a line for each number of microphones, until more than one window in a hundred is skipped."""
    print("microphones  windows/s  skipped  cores  inference ms  loop late by ms", flush=True)
    for microphones in steps:
        load = asyncio.run(serve(settings, microphones))
        rate = load.windows / MEASURED_SECONDS
        print(
            f"{load.microphones:11d}  {rate:9.1f}  {load.skipped:7d}  {load.cores:5.2f}  {load.inference_ms:12.1f}"
            f"  {load.latest_ms:15.1f}",
            flush=True,
        )
        if load.skipped * 100 > load.windows:
            return


def main() -> None:
    """Grow until the worker falls behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-c", "--config", type=Path, help="clapstream.yaml, for model, labels and hop")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 8, 32, 64, 96, 128, 192, 256, 384, 512])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    grow(load_settings(options.config), options.steps)
    os._exit(0)  # a worker that fell far behind may still be inside torch, where Python's exit would abort it


if __name__ == "__main__":
    main()
