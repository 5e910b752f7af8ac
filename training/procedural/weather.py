"""Water, wind and rain."""

from __future__ import annotations

import numpy as np
import scipy.signal

from training.effects import Random, Wave, random_curve, tilted_noise
from training.paths import RATE_HZ
from training.procedural.signals import (
    filtered,
    log_uniform,
    normalised,
    placed_at,
    poisson_times,
    pulses_at,
    random_modes,
    resonate,
    smooth_curve,
)


def bubbles(seconds: float, random: Random) -> Wave:
    """Water made of ringing bubbles: drips, pouring, tap, stream, boiling, splashing."""
    count = int(seconds * RATE_HZ)
    low = log_uniform(random, 200, 1500)
    kit = []
    for _ in range(24):
        frequency, decay = low * log_uniform(random, 1, 8), log_uniform(random, 15, 150)
        time = np.arange(int(min(0.3, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        rise = random.uniform(0, 4)
        kit.append((np.sin(2 * np.pi * frequency * time * (1 + rise * time)) * np.exp(-decay * time)).astype("f4"))
    times = poisson_times(seconds, min(log_uniform(random, 0.7, 400), 2000 / seconds), random)
    levels = 10 ** random.normal(0, 0.4, len(times))
    water = placed_at(count, times, lambda number: kit[number % 24] * np.float32(levels[number]))
    hiss = tilted_noise(count, random, random.uniform(-5, 2)) * (1 + 0.3 * smooth_curve(count, random, 5))
    return normalised(water) + hiss * log_uniform(random, 0.005, 2)


def weather(seconds: float, random: Random) -> Wave:
    """Shaped noise that comes and goes: wind, rain, surf, leaves, distant traffic, rumble, static."""
    count = int(seconds * RATE_HZ)
    shape = lambda f: random_curve(f, random, random.uniform(2, 8))  # noqa: E731 - the curve is drawn once
    first = filtered(tilted_noise(count, random, random.uniform(-12, 3)), shape)
    second = filtered(tilted_noise(count, random, random.uniform(-12, 3)), shape)
    swell = np.exp(random.uniform(0, 1.2) * smooth_curve(count, random, log_uniform(random, 0.1, 8)))
    sound: Wave = first / np.std(first) + second / np.std(second) * swell
    if random.random() < 0.5:
        drops = poisson_times(seconds, log_uniform(random, 20, 3000), random)
        hits = pulses_at(count, drops, 10 ** random.normal(0, 0.4, len(drops)))
        patter = resonate(hits, *random_modes(random, 800, 9000, 6, (300, 3000)))
        sound += patter / np.std(patter) * log_uniform(random, 0.1, 3)
    return sound


def drops(seconds: float, random: Random) -> Wave:
    """Many small hits on one surface: from a crackling fire or a dripping gutter to a downpour on tent or window.

    What makes the teacher say rain and not fire is more of them, shorter ones, and more of a hiss.
    """
    count = int(seconds * RATE_HZ)
    low, ring, dies = (log_uniform(random, *ends) for ends in ((150, 4000), (60, 900), (200, 4000)))
    tonal = log_uniform(random, 0.1, 1)
    times = poisson_times(seconds, log_uniform(random, 30, 2500), random)
    levels = 10 ** random.normal(0, random.uniform(0.1, 0.45), len(times))
    kind = random.integers(12, size=len(times))
    struck = np.zeros(count, np.float32)
    time = np.arange(int(0.06 * RATE_HZ), dtype=np.float32) / RATE_HZ
    for number in range(12):
        ringing = np.sin(2 * np.pi * low * log_uniform(random, 0.6, 2.5) * time + random.uniform(0, 6))
        ringing *= tonal * np.exp(-ring * random.uniform(0.7, 1.4) * time)
        splash = random.standard_normal(len(time)) * np.exp(-dies * random.uniform(0.6, 1.5) * time)
        hits = pulses_at(count, times[kind == number], levels[kind == number])
        struck += scipy.signal.oaconvolve(hits, (ringing + splash).astype("f4"))[:count]
    swell = np.exp(random.uniform(0, 0.7) * smooth_curve(count, random, log_uniform(random, 0.3, 4)))
    hiss = tilted_noise(count, random, random.uniform(-5, 3)) * log_uniform(random, 0.08, 2)
    patter: Wave = (normalised(struck) + hiss) * swell
    return patter
