"""Blows, clicks, shots and falling pieces."""

from __future__ import annotations

import numpy as np
import scipy.signal

from training.effects import Random, Samples, Wave, tilted_noise
from training.paths import RATE_HZ
from training.procedural.signals import (
    log_uniform,
    normalised,
    placed_at,
    poisson_times,
    pulses_at,
    random_modes,
    regular_times,
    resonate,
    smooth_curve,
)


def knocks(seconds: float, random: Random) -> Wave:
    """Blows on wood, metal or floor: door knock, hammering, footsteps, slams, clapping, chopping."""
    count = int(seconds * RATE_HZ)
    if random.random() < 0.5:
        rate, size = random.uniform(2.5, 8), random.integers(2, 7)
        starts = np.arange(random.uniform(0, 1), seconds, size / rate + random.uniform(0.5, 4))
        times = (starts[:, None] + np.arange(size) / rate + random.normal(0, 0.01, (len(starts), size))).ravel()
    else:
        times = regular_times(seconds, log_uniform(random, 0.3, 5), random.choice([0.03, 0.15, 0.5]), random)
    hits = pulses_at(count, times, 10 ** random.normal(0, 0.12, len(times)))
    wood = resonate(hits, *random_modes(random, random.uniform(60, 400), 3500, 8, (25, 250)))
    length = int(log_uniform(random, 0.004, 0.08) * RATE_HZ)
    burst = tilted_noise(length, random, random.uniform(-6, 3)) * np.exp(-5 * np.arange(length) / length)
    slap = scipy.signal.oaconvolve(hits, burst.astype(np.float32))[:count]
    return normalised(wood) + normalised(slap) * log_uniform(random, 0.02, 2)


def clicks(seconds: float, random: Random) -> Wave:
    """Small hard sounds: keyboard, clock, mouse, switch, camera, crackling fire, popping, frying."""
    count = int(seconds * RATE_HZ)
    dense = random.random() < 0.5
    times = (
        poisson_times(seconds, log_uniform(random, 4, 400), random)
        if dense
        else regular_times(seconds, log_uniform(random, 0.8, 12), random.choice([0.0, 0.02, 0.6]), random)
    )
    hits = pulses_at(count, times, 10 ** random.normal(0, 0.5 if dense else 0.1, len(times)))
    sharp = resonate(hits, *random_modes(random, 300, 9000, 9, (150, 3000)))
    hiss = tilted_noise(count, random, random.uniform(-9, -2))
    return normalised(sharp) + hiss * log_uniform(random, 0.003, 0.5)


def shots(seconds: float, random: Random) -> Wave:
    """Gunshots, fireworks, explosions: a sharp front, a boom and an outdoor tail; single or in bursts."""
    count = int(seconds * RATE_HZ)
    decay, tail = log_uniform(random, 6, 120), log_uniform(random, 0.8, 6)
    length = int(min(seconds, 2.5) * RATE_HZ)
    time = np.arange(length, dtype=np.float32) / RATE_HZ
    crack = tilted_noise(length, random, random.uniform(-4, 2)) * np.exp(-decay * time)
    boom = tilted_noise(length, random, random.uniform(-12, -6)) * np.exp(-decay * random.uniform(0.1, 0.6) * time)
    echo = tilted_noise(length, random, random.uniform(-9, -4)) * np.exp(-tail * time)
    echo *= np.abs(1 + 0.7 * smooth_curve(length, random, 12))
    shot = crack + boom * log_uniform(random, 0.05, 1) + echo * log_uniform(random, 0.01, 0.3)
    shot = np.tanh(shot * random.uniform(0.7, 4)).astype(np.float32)
    if random.random() < 0.6:
        times = poisson_times(seconds, random.uniform(0.15, 1.0), random)
    else:
        burst = np.arange(int(random.integers(2, 20))) / random.uniform(4, 16)
        times = random.uniform(0, seconds * 0.6) + burst
    levels = 10 ** random.normal(0, 0.1, len(times))
    return placed_at(count, times, lambda number: shot * np.float32(levels[number]))


def shatter(seconds: float, random: Random) -> Wave:
    """Falling hard pieces: breaking glass, dishes, coins, keys, cans."""
    count = int(seconds * RATE_HZ)
    starts = poisson_times(seconds, random.uniform(0.1, 1.2), random)[:6]
    pieces = random.integers(3, 40)
    times = np.concatenate([start + random.exponential(random.uniform(0.03, 0.5), pieces) for start in starts])
    low, decay = log_uniform(random, 800, 4000), log_uniform(random, 10, 150)

    def piece(_: int) -> Samples:
        time = np.arange(int(min(0.5, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        wave = sum(np.sin(np.float32(6.28 * low * log_uniform(random, 1, 5)) * time) for _ in range(3))
        return (wave * np.exp(-decay * time) * 10 ** random.normal(0, 0.4)).astype(np.float32)

    crash = tilted_noise(count, random, 2) * 0
    for start in starts:
        first = int(start * RATE_HZ)
        size = min(count - first, int(0.3 * RATE_HZ))
        crash[first : first + size] += tilted_noise(int(0.3 * RATE_HZ), random, 2)[:size] * np.exp(
            -np.arange(size) / RATE_HZ * random.uniform(15, 80)
        )
    return placed_at(count, times, piece) + crash * np.float32(random.uniform(0, 2))
