"""`clapstream bench`: measure how fast the model is on this machine, with the engine that `clapstream run` uses."""

from __future__ import annotations

import argparse
import json
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.audio.position import StreamPosition
from clapstream.commands.reporting import FAILURE, OK, USAGE, print_error, settings_or_print_errors
from clapstream.daemon.build import EXPECTED
from clapstream.detection.band_levels import band_levels
from clapstream.detection.gate import SPAN_SAMPLES
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine

Floats = NDArray[np.float32]

ROUNDS = 12
WARM_UP_ROUNDS = 2
SOURCES_AT_ONCE = 8
PAUSE_SECONDS = 0.25
"""Between the windows of one source: long enough to include the CPU time of threads that spin while they wait."""


class MeasuredEngine(Protocol):
    """The part of the engine that is measured by itself."""

    def features(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> torch.Tensor:
        """Features of windows of streams, which the engine remembers."""


class MeasuredScorer(Protocol):
    """Engine and labels: `WindowScorer`."""

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> Floats:
        """Scores of windows of streams, features included."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Wall time and this process's CPU time on all cores, in seconds, and how to let time pass."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians at a hop of `hop_seconds`. `check_seconds` is the gate's, None if the gate is off."""

    hop_seconds: float
    features_ms: float
    window_ms: float
    windows_per_second: float
    cpu_seconds: float
    gate_cpu_seconds: float = 0.0
    check_seconds: float | None = None

    @property
    def tower_ms(self) -> float:
        """What a window takes beyond its features."""
        return max(0.0, self.window_ms - self.features_ms)

    @property
    def microphones(self) -> int:
        """How many microphones the model keeps up with."""
        return int(self.windows_per_second * self.hop_seconds)

    @property
    def core_share(self) -> float:
        """Share of one core that the model takes per microphone (capture and scoring take little)."""
        return (self.cpu_seconds + self.gate_cpu_seconds) / self.hop_seconds

    @property
    def quiet_core_share(self) -> float:
        """The same in silence: the gate then lets one window per `check_seconds` pass."""
        scored = 1.0 if self.check_seconds is None else min(1.0, self.hop_seconds / self.check_seconds)
        return (self.cpu_seconds * scored + self.gate_cpu_seconds) / self.hop_seconds


def run(options: argparse.Namespace) -> int:
    """Load the configured model, measure it and print the figures."""
    settings = settings_or_print_errors(options.config)
    if settings is None:
        return USAGE
    try:
        engine = TorchEngine(settings.model, settings.cache_directory)
        labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(settings.labels)
    except EXPECTED as error:
        print_error(error)
        return FAILURE
    device, precision = str(engine.device), str(engine.precision).removeprefix("torch.")
    if not options.json:
        threads = torch.get_num_threads()
        print(f"{engine.checkpoint} on {device} {precision}, threads: {threads}", flush=True)
    gated = settings.gate.enabled and not any(label.always_score for label in settings.labels.labels)
    with torch.inference_mode():
        speed = measure(
            engine,
            WindowScorer(engine, labels),
            settings.window.seconds,
            settings.window.hop_seconds,
            settings.gate.check_seconds if gated else None,
        )
    if options.json:
        print(as_json(speed, engine.checkpoint, device, precision))
    else:
        print(render(speed), end="")
    return OK


def measure(
    engine: MeasuredEngine,
    scorer: MeasuredScorer,
    window_seconds: float,
    hop_seconds: float,
    check_seconds: float | None = None,
    *,
    clocks: Clocks | None = None,
    levels: Callable[[Floats], Floats] = band_levels,
) -> Speed:
    """Measure what the daemon does: one source with pauses, then several at once without.

    `check_seconds` is the gate's (None: no gate); `levels` is what the gate computes of the newest sound.
    """
    clocks = clocks or Clocks()
    window_samples, hop_samples = round(window_seconds * RATE_HZ), round(hop_seconds * RATE_HZ)
    features, windows, cpu, gate_cpu, batches = [], [], [], [0.0], []
    for hop in hops(1, window_samples, hop_samples):
        features.append(_elapsed(clocks.wall, engine.features, *hop))
    for hop in hops(1, window_samples, hop_samples):
        started = clocks.cpu()
        windows.append(_elapsed(clocks.wall, scorer.score, *hop))
        clocks.sleep(PAUSE_SECONDS)
        cpu.append(clocks.cpu() - started)
    for (samples,), _ in hops(1, window_samples, hop_samples) if check_seconds is not None else ():
        gate_cpu.append(_elapsed(clocks.cpu, levels, samples[-max(hop_samples, SPAN_SAMPLES) :]))
    for hop in hops(SOURCES_AT_ONCE, window_samples, hop_samples):
        batches.append(_elapsed(clocks.wall, scorer.score, *hop))
    return Speed(
        hop_seconds=hop_seconds,
        features_ms=typical(features) * 1e3,
        window_ms=typical(windows) * 1e3,
        windows_per_second=max(SOURCES_AT_ONCE / typical(batches), 1 / typical(windows)),
        cpu_seconds=typical(cpu),
        gate_cpu_seconds=median(gate_cpu),
        check_seconds=check_seconds,
    )


def _elapsed(clock: Callable[[], float], work: Callable[..., object], *arguments: object) -> float:
    started = clock()
    work(*arguments)
    return clock() - started


def typical(seconds: Sequence[float]) -> float:
    """The median, without the warm-up rounds."""
    return median(seconds[WARM_UP_ROUNDS:])


def hops(
    sources: int, window_samples: int, hop_samples: int
) -> Iterator[tuple[list[Floats], list[StreamPosition]]]:
    """The windows of some sources, hop by hop: noise, since the model takes the same time for any sound."""
    generator = np.random.default_rng(0)
    length = window_samples + (WARM_UP_ROUNDS + ROUNDS) * hop_samples
    sounds = [generator.standard_normal(length, dtype=np.float32) * np.float32(0.1) for _ in range(sources)]
    streams = [Stream() for _ in range(sources)]
    for first_sample in range(0, length - window_samples, hop_samples):
        windows = [sound[first_sample : first_sample + window_samples].copy() for sound in sounds]
        yield windows, [StreamPosition(stream, first_sample) for stream in streams]


class Stream:
    """The identity of a stream."""


def render(speed: Speed) -> str:
    """The figures as a table."""
    rows = [
        ("features of one hop", f"{speed.features_ms:.1f} ms"),
        ("audio tower, one window", f"{speed.tower_ms:.1f} ms"),
        ("windows per second", f"{speed.windows_per_second:.1f}"),
        (f"microphones at a hop of {speed.hop_seconds:g} s", f"{speed.microphones}"),
        ("one core, per microphone", f"{speed.core_share:.2%}"),
        ("one core, per silent microphone", f"{speed.quiet_core_share:.2%}"),
        ("peak memory", f"{_peak_mb():.0f} MB"),
    ]
    return "".join(f"{name:<34}{value:>10}\n" for name, value in rows)


def as_json(speed: Speed, checkpoint: str, device: str, precision: str) -> str:
    """The figures as one JSON object; shares are of one core."""
    return json.dumps(
        {
            "checkpoint": checkpoint,
            "device": device,
            "precision": precision,
            "processor": processor_name(),
            "threads": torch.get_num_threads(),
            "hop_seconds": speed.hop_seconds,
            "features_ms": round(speed.features_ms, 3),
            "tower_ms": round(speed.tower_ms, 3),
            "window_ms": round(speed.window_ms, 3),
            "windows_per_second": round(speed.windows_per_second, 2),
            "microphones": speed.microphones,
            "core_share": round(speed.core_share, 5),
            "quiet_core_share": round(speed.quiet_core_share, 5),
            "peak_memory_mb": round(_peak_mb(), 1),
        },
        allow_nan=False,
    )


def processor_name(cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's name as Linux gives it, elsewhere what Python knows; at least its architecture."""
    try:
        models = re.findall(r"^model name\s*:\s*(.+)", cpu_info.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        models = []
    return models[0] if models else platform.processor() or platform.machine()


def _peak_mb() -> float:
    """Of this process; the unit of the system's figure is bytes on macOS, else KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
