"""A training window and its events, and how sounds are cut, placed and levelled in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from training import effects
from training.effects import Random, Samples
from training.paths import RATE_HZ, WINDOW_SAMPLES

MOST_EVENTS = 6

Event = tuple[str, float, float, float]
"""Label, start and end in seconds, level in dB."""


@dataclass(slots=True)
class Window:
    """An `excerpt` of at most 10 s, which the model hears repeat-padded, and the events in it."""

    excerpt: Samples
    events: list[Event] = field(default_factory=list)

    def padded(self) -> Samples:
        """The excerpt as CLAP's `repeatpad` fills 10 s: whole repetitions, then silence."""
        repeated = np.tile(self.excerpt, WINDOW_SAMPLES // len(self.excerpt))
        return np.pad(repeated, (0, WINDOW_SAMPLES - len(repeated)))


def repeat_events(events: list[Event], seconds: float) -> list[Event]:
    """Events of an excerpt of `seconds` after repeat-padding: in a short excerpt they last from start to end."""
    repeats = int(10 / seconds)
    if repeats > 1:
        events = [(label, 0.0, repeats * seconds, level) for label, _, _, level in events]
    return sorted(events, key=lambda event: -event[3])[:MOST_EVENTS]


def cut(samples: Samples, longest: int, random: Random, *, shorten: bool) -> Samples:
    """A random stretch of at most `longest` samples, or shorter."""
    if shorten:
        longest = min(longest, int(random.uniform(0.8, 6) * RATE_HZ))
    if len(samples) <= longest:
        return samples
    first = random.integers(len(samples) - longest)
    return samples[first : first + longest]


def place(mixture: Samples, samples: Samples, random: Random) -> tuple[int, int]:
    """Add `samples` to `mixture` at a random offset where they fit; return its first sample and its end."""
    samples = samples[: len(mixture)]
    first = int(random.integers(len(mixture) - len(samples) + 1))
    mixture[first : first + len(samples)] += samples
    return first, first + len(samples)


def final_level(mixture: Samples, random: Random) -> Samples:
    """The mixture with its peak between -36 and 0 dBFS, in some cases overloaded."""
    if random.random() < 0.04:
        mixture = effects.overload(mixture, random)
    peak = np.max(np.abs(mixture)) + 1e-9
    target = -float(random.choice([random.uniform(0, 12), random.uniform(0, 36)]))
    scaled: Samples = mixture * np.float32(effects.decibel(target) / peak)
    return scaled
