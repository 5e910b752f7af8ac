"""Music from random notes."""

from __future__ import annotations

import numpy as np

from training.effects import Random, Samples, Wave
from training.paths import RATE_HZ
from training.procedural.impacts import knocks
from training.procedural.signals import log_uniform, placed_at, tone


def tune(seconds: float, random: Random) -> Wave:
    """Music by dice: chords, a melody and perhaps drums."""
    count = int(seconds * RATE_HZ)
    beat = 60 / random.uniform(60, 180)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12]) if random.random() < 0.5 else np.array([0, 2, 3, 5, 7, 8, 10, 12])
    root = log_uniform(random, 55, 220)
    slope, attack, decay = random.uniform(0.5, 2), random.uniform(0.003, 0.1), log_uniform(random, 0.5, 8)
    sound = np.zeros(count, np.float32)
    for octave, every, voices in ((1, 4, 3), (2, 1, 1), (4, random.choice([0.5, 1]), 1)):
        if random.random() < 0.8:
            times = np.arange(0, seconds, beat * every)

            def note(_: int, octave: int = octave, every: float = every, voices: int = voices) -> Samples:
                size = int(beat * every * 1.2 * RATE_HZ)
                time = np.arange(size) / RATE_HZ
                pitches = root * octave * 2 ** (random.choice(scale, voices) / 12)
                wave = sum(tone(np.full(size, pitch, "f4"), random, 12, slope) for pitch in pitches)
                return (wave * np.minimum(1, time / attack) * np.exp(-decay * time)).astype(np.float32)

            sound += placed_at(count, times, note)
    if random.random() < 0.5:
        sound += knocks(seconds, random) * random.uniform(0.1, 0.7)
    return sound
