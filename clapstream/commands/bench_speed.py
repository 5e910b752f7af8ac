"""How fast this machine hears: what `clapstream bench` measures, with the detector that `clapstream run` uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.audio.position import StreamPosition
from clapstream.detection.band_levels import band_levels
from clapstream.detection.gate import SPAN_SAMPLES

Floats = NDArray[np.float32]

ROUNDS = 12
WARM_UP_ROUNDS = 2
SOURCES_AT_ONCE = 8
PAUSE_SECONDS = 0.25
"""Between the windows of one source: long enough to see whether threads burn their cores while they wait."""


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
    """Seconds of the wall and of this process's work on all cores, and how to let time pass."""

    wall: Callable[[], float] = time.perf_counter
    work: Callable[[], float] = time.process_time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured, at a hop of `hop_seconds`; medians. `check_seconds` is None if the gate is off."""

    hop_seconds: float
    features_ms: float
    window_ms: float
    windows_per_second: float
    work_seconds: float
    gate_work_seconds: float = 0.0
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
        """Share of one core that one microphone keeps busy in steady state (the model; the rest is little)."""
        return (self.work_seconds + self.gate_work_seconds) / self.hop_seconds

    @property
    def quiet_core_share(self) -> float:
        """The same while nothing happens: the gate then lets all but one window in `check_seconds` pass."""
        scored = 1.0 if self.check_seconds is None else min(1.0, self.hop_seconds / self.check_seconds)
        return (self.work_seconds * scored + self.gate_work_seconds) / self.hop_seconds


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
    """Run the detector as the daemon does: one source with pauses, then several at once without.

    `check_seconds` is the gate's, None for none; `levels` is what it makes of a window.
    """
    clocks = clocks or Clocks()
    window_samples, hop_samples = round(window_seconds * RATE_HZ), round(hop_seconds * RATE_HZ)
    features, windows, works = [], [], []
    for samples, positions in streams(1, window_samples, hop_samples):
        started = clocks.wall()
        engine.features(samples, positions)
        features.append(clocks.wall() - started)
    for samples, positions in streams(1, window_samples, hop_samples):
        started, work = clocks.wall(), clocks.work()
        scorer.score(samples, positions)
        windows.append(clocks.wall() - started)
        clocks.sleep(PAUSE_SECONDS)
        works.append(clocks.work() - work)
    gate_works = [0.0]
    for samples, _ in streams(1, window_samples, hop_samples) if check_seconds is not None else ():
        work = clocks.work()
        levels(samples[0][-max(hop_samples, SPAN_SAMPLES) :])
        gate_works.append(clocks.work() - work)
    batches = []
    for samples, positions in streams(SOURCES_AT_ONCE, window_samples, hop_samples):
        started = clocks.wall()
        scorer.score(samples, positions)
        batches.append(clocks.wall() - started)
    return Speed(
        hop_seconds=hop_seconds,
        features_ms=typical(features) * 1e3,
        window_ms=typical(windows) * 1e3,
        windows_per_second=max(SOURCES_AT_ONCE / typical(batches), 1 / typical(windows)),
        work_seconds=typical(works),
        gate_work_seconds=median(gate_works),
        check_seconds=check_seconds,
    )


def typical(seconds: Sequence[float]) -> float:
    """The median, without the rounds that warm up."""
    return median(seconds[WARM_UP_ROUNDS:])


def streams(
    sources: int, window_samples: int, hop_samples: int
) -> Iterator[tuple[list[Floats], list[StreamPosition]]]:
    """The windows of some sources, hop by hop: noise, since the model takes the same time for any sound."""
    generator = np.random.default_rng(0)
    frames = window_samples + (WARM_UP_ROUNDS + ROUNDS) * hop_samples
    sounds = [generator.standard_normal(frames, dtype=np.float32) * np.float32(0.1) for _ in range(sources)]
    identities = [Identity() for _ in range(sources)]
    for first_sample in range(0, frames - window_samples, hop_samples):
        windows = [sound[first_sample : first_sample + window_samples].copy() for sound in sounds]
        yield windows, [StreamPosition(identity, first_sample) for identity in identities]


class Identity:
    """Stands for a stream."""


def report(speed: Speed) -> str:
    """The figures for people to read, one a line."""
    lines = [
        ("features of a new hop", f"{speed.features_ms:.1f} ms"),
        ("audio tower", f"{speed.tower_ms:.1f} ms"),
        ("windows per second", f"{speed.windows_per_second:.1f}"),
        (f"microphones at a hop of {speed.hop_seconds:g} s", f"{speed.microphones}"),
        ("one core, for each microphone", f"{speed.core_share:.2%}"),
        ("one core, while all is quiet", f"{speed.quiet_core_share:.2%}"),
    ]
    return "".join(f"{name:<34}{value:>10}\n" for name, value in lines)
