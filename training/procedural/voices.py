"""Voices without words: of animals, people and birds."""

from __future__ import annotations

import numpy as np

from training.effects import Random, Samples, Wave, tilted_noise
from training.paths import RATE_HZ
from training.procedural.signals import log_uniform, placed_at, resonate, smooth_curve, tone


def throat(seconds: float, random: Random) -> Wave:
    """A voice without words: bark, meow, cry, shout, laugh, moo, snore, cough, howl."""
    count = int(seconds * RATE_HZ)
    base = log_uniform(random, 60, 900)
    length = log_uniform(random, 0.08, 2.0)
    gap = length + log_uniform(random, 0.05, 2)
    times = np.arange(random.uniform(0, 0.5), seconds, gap) + 0
    times = times + random.normal(0, 0.1 * gap, len(times))
    sway, shape = random.uniform(0.02, 0.5), random.normal(0, 1, 4)
    breath, rough = log_uniform(random, 0.02, 2), random.uniform(0, 0.1)

    def call(_: int) -> Samples:
        size = int(length * random.uniform(0.7, 1.3) * RATE_HZ)
        contour = np.interp(np.linspace(0, 3, size), np.arange(4), shape + 0.3 * random.standard_normal(4))
        pitch = base * np.exp(sway * contour) * np.exp(rough * smooth_curve(size, random, 60))
        voiced = tone(pitch.astype(np.float32), random, 60, random.uniform(0.4, 1.2))
        wave = voiced + tilted_noise(size, random, -2) * np.float32(breath)
        envelope = np.sin(np.pi * np.linspace(0, 1, size) ** random.uniform(0.3, 1.2)) ** random.uniform(0.3, 1.5)
        return (wave * envelope).astype(np.float32)

    source = placed_at(count, times, call)
    tract = random.uniform(0.6, 2.5)
    centres = np.array([random.uniform(300, 900), random.uniform(900, 2200), 2700, 3700], "f4") * tract
    return resonate(source, centres, np.pi * random.uniform(80, 300, 4), np.array([1, 0.6, 0.3, 0.2]))


def chirps(seconds: float, random: Random) -> Wave:
    """Whistled sweeps in phrases: birds, crickets, insects, frogs, whistles, squeaks."""
    count = int(seconds * RATE_HZ)
    base, spread = log_uniform(random, 900, 7000), random.uniform(0.02, 0.5)
    length, rate = log_uniform(random, 0.015, 0.5), random.uniform(1, 30)
    phrase, rest = int(random.integers(1, 16)), random.uniform(0.05, 2)
    motif = random.normal(0, spread, (random.integers(1, 5), 4))
    gap = max(length, 1 / rate)
    starts = np.arange(random.uniform(0, 1), seconds, phrase * gap + rest)
    times = (starts[:, None] + gap * np.arange(phrase)).ravel()

    def sing(number: int) -> Samples:
        size = max(64, int(length * RATE_HZ))
        contour = np.interp(np.linspace(0, 3, size), np.arange(4), motif[number % len(motif)])
        wave = tone((base * np.exp(contour)).clip(100, 15000).astype(np.float32), random, 3, 2.5)
        return wave * np.sin(np.pi * np.linspace(0, 1, size)).astype(np.float32)

    return placed_at(count, times[:300], sing)
