"""What was measured, and the figures that are made of it: plain values and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.settings import REFERENCE


@dataclass
class Measured:
    """All turns of one peer with one checkpoint and batch size; lists have one entry for each round.

    `core_ms` is the work of all cores together for a whole batch: it hardly changes when the machine is busy.
    """

    peer: str
    checkpoint: str
    batch: int
    features_ms: list[float] = field(default_factory=list)
    tower_ms: list[float] = field(default_factory=list)
    core_ms: list[float] = field(default_factory=list)
    hop_ms: list[float] = field(default_factory=list)
    embedding: list[float] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def total_ms(self) -> list[float]:
        """From sound to embedding."""
        return [sum(pair) for pair in zip(self.features_ms, self.tower_ms, strict=True)]


@dataclass
class Start:
    """Seconds from the start of a process to its first score, one for each round, and its peak memory."""

    what: str
    checkpoint: str
    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


def turns(peers: Sequence[str], rounds: int) -> list[list[str]]:
    """The order of each round: everyone begins as often as anyone else, so that noise hurts all alike."""
    return [[*peers[start:], *peers[:start]] for start in (number % len(peers) for number in range(rounds))]


def times_faster(reference: Sequence[float], other: Sequence[float]) -> float:
    """How many times faster than the reference: the median over rounds, each compared within itself."""
    return median(slow / fast for slow, fast in zip(reference, other, strict=True))


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Of two vectors of unit length."""
    return sum(a * b for a, b in zip(first, second, strict=True))


def reference_of(measured: Measured, among: Sequence[Measured]) -> Measured | None:
    """The reference that has the same checkpoint, batch size and device, or else the CPU's."""
    same = [other for other in among if (other.checkpoint, other.batch) == (measured.checkpoint, measured.batch)]
    device = " cuda" if " cuda" in measured.peer else ""
    return next((other for other in same if other.peer == REFERENCE + device), None)
