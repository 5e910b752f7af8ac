"""Machines: engines, tools with motors, moving air, rotors."""

from __future__ import annotations

import numpy as np

from training.effects import Random, Wave, random_curve, tilted_noise
from training.paths import RATE_HZ
from training.procedural.signals import (
    filtered,
    log_uniform,
    normalised,
    on_off_curve,
    pulses_at,
    random_modes,
    regular_times,
    resonate,
    smooth_curve,
    tone,
)


def engine(seconds: float, random: Random) -> Wave:
    """A piston engine: idling, revving or driving; car, diesel, motorcycle, mower, generator."""
    count = int(seconds * RATE_HZ)
    rate = log_uniform(random, 10, 120) if random.random() < 0.5 else random.uniform(14, 38)
    wander = random.choice([0.01, 0.03, 0.3], p=[0.5, 0.3, 0.2])
    pitch = rate * np.exp(wander * smooth_curve(count, random, random.uniform(0.3, 4)))
    phase = np.cumsum(pitch / RATE_HZ, dtype=np.float64)
    fired = np.flatnonzero(np.diff(np.floor(phase)) > 0)
    cylinders = random.integers(1, 9)
    strength = np.tile(10 ** random.normal(0, 0.2, cylinders), len(fired) // cylinders + 1)[: len(fired)]
    strength *= 10 ** random.normal(0, random.uniform(0.05, 0.25), len(fired))
    times = fired / RATE_HZ + random.normal(0, random.uniform(0.01, 0.1) / rate, len(fired))
    pulses = pulses_at(count, times, strength)
    body = resonate(pulses, *random_modes(random, 40, 400, 4, (20, 300)))
    clatter = resonate(pulses, *random_modes(random, 500, 6000, 6, (200, 2000)))
    gust = np.minimum(np.convolve(pulses[::48], np.exp(-np.arange(60) / random.uniform(3, 30)), "full"), 4)
    gate = np.interp(np.arange(count), np.arange(len(gust)) * 48, gust).astype(np.float32)
    exhaust = tilted_noise(count, random, random.uniform(-9, -3)) * gate
    mix = [normalised(part) for part in (body, clatter, exhaust, tilted_noise(count, random, -5))]
    lowest = (0.1, 0.03, 0.3, 0.1)
    return np.asarray(sum(part * log_uniform(random, low, 1) for part, low in zip(mix, lowest, strict=True)))


def impact_tool(seconds: float, random: Random) -> Wave:
    """A jackhammer, hammer drill or riveter: fast blows through a rattling body, in bursts."""
    count = int(seconds * RATE_HZ)
    rate = log_uniform(random, 7, 60)
    times = regular_times(seconds, rate, random.uniform(0.005, 0.06), random)
    blows = pulses_at(count, times, 10 ** random.normal(0, random.uniform(0.05, 0.25), len(times)))
    noise = tilted_noise(count, random, random.uniform(-4, 3))
    tail = np.exp(-np.arange(4800) / RATE_HZ * random.uniform(60, 500)).astype(np.float32)
    gate = np.convolve(blows[::8], tail[::8], "full")
    rattle = noise * np.interp(np.arange(count), np.arange(len(gate)) * 8, gate).astype(np.float32)
    metal = resonate(blows, *random_modes(random, 150, 8000, 10, (40, 800)))
    thump = resonate(blows, *random_modes(random, 40, 200, 2, (40, 200)))
    parts = [normalised(part) * log_uniform(random, 0.15, 1.5) for part in (rattle, metal, thump)]
    motor = motor_whine(seconds, random) * log_uniform(random, 0.03, 0.7)
    return (sum(parts) + motor) * on_off_curve(count, random, (0.4, 5), (0.1, 1.5), 0.05)


def motor_whine(seconds: float, random: Random) -> Wave:
    """An electric motor with gears and brush noise: drill, saw, mixer, shaver, blender."""
    count = int(seconds * RATE_HZ)
    running = on_off_curve(count, random, (0.7, 8), (0.1, 2), random.uniform(0.05, 0.5))
    load = 1 + random.uniform(0.005, 0.12) * smooth_curve(count, random, random.uniform(0.5, 8))
    pitch = (log_uniform(random, 60, 1200) * np.maximum(0.15, running) * load).astype(np.float32)
    whine = tone(pitch, random, int(random.integers(3, 40)), random.uniform(0.2, 1.5))
    gears = tone(pitch * random.uniform(2.1, 9.7), random, 6, 1.0)
    brush = tilted_noise(count, random, random.uniform(-4, 4)) * (1 + 0.5 * np.abs(whine))
    mix = whine * log_uniform(random, 0.2, 1) + gears * log_uniform(random, 0.05, 0.7)
    return (mix + brush * log_uniform(random, 0.05, 1.5)) * running**2


def air_mover(seconds: float, random: Random) -> Wave:
    """Moving air: fan, air conditioner, vacuum cleaner, hair dryer, ventilation, compressor."""
    count = int(seconds * RATE_HZ)
    shape = lambda f: random_curve(f, random, random.uniform(3, 9))  # noqa: E731 - the curve is drawn once
    air = filtered(tilted_noise(count, random, random.uniform(-8, 0)), shape)
    air *= 1 + random.uniform(0, 0.25) * smooth_curve(count, random, random.uniform(0.3, 12))
    blades = np.full(count, log_uniform(random, 20, 700), np.float32)
    blades *= 1 + random.uniform(0, 0.01) * smooth_curve(count, random, 2)
    hum = tone(blades, random, int(random.integers(1, 24)), random.uniform(0.5, 2))
    mains = tone(np.full(count, random.choice([50, 60, 100, 120]), np.float32), random, 20, random.uniform(0.6, 2))
    sound: Wave = normalised(air) + hum * log_uniform(random, 0.01, 1) + mains * log_uniform(random, 0.01, 1)
    if random.random() < 0.4:
        flutter = tone(blades / random.integers(1, 8), random, 5, 1)
        sound *= 1 + random.uniform(0.05, 0.5) * flutter.clip(-2, 2)
    if random.random() < 0.2:
        rattle = regular_times(seconds, random.uniform(3, 30), 0.1, random)
        ring = resonate(
            pulses_at(count, rattle, np.ones(len(rattle))), *random_modes(random, 300, 5e3, 4, (50, 900))
        )
        sound += normalised(ring) * random.uniform(0.1, 0.6)
    return sound


def rotor(seconds: float, random: Random) -> Wave:
    """Noise beaten by blades or rails: helicopter, propeller, washing machine, train, purring, lawn mower."""
    count = int(seconds * RATE_HZ)
    rate = log_uniform(random, 0.8, 90) * np.exp(random.uniform(0, 0.1) * smooth_curve(count, random, 0.7))
    beat = tone(rate.astype(np.float32), random, int(random.integers(1, 12)), random.uniform(0.3, 1.5))
    sound = tilted_noise(count, random, random.uniform(-10, -1)) * np.exp(random.uniform(0.2, 1.2) * beat)
    drone = tone((rate * int(random.integers(2, 30))).clip(20, 8000).astype(np.float32), random, 20, 1.2)
    fly_by = np.exp(-(((np.arange(count) / count - random.random()) * random.uniform(0, 4)) ** 2)).astype("f4")
    passing: Wave = (sound / np.std(sound) + drone * log_uniform(random, 0.01, 1)) * fly_by
    return passing
