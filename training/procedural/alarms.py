"""Sounds that call for attention: sirens, horns, bells, beeps, alarms, telephones."""

from __future__ import annotations

import numpy as np

from training.effects import Random, Samples, Wave
from training.paths import RATE_HZ
from training.procedural.signals import (
    log_uniform,
    on_off_curve,
    placed_at,
    pulses_at,
    random_modes,
    regular_times,
    repeated_gate,
    resonate,
    smooth_curve,
    tone,
)


def siren(seconds: float, random: Random) -> Wave:
    """Wail, yelp, two-tone, hand-cranked, civil defence or car alarm, passing or standing."""
    count = int(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ + random.uniform(0, 10)
    low, ratio = random.uniform(300, 900), random.uniform(1.25, 2.8)
    kind = random.integers(4)
    if kind == 0:
        position = 0.5 - 0.5 * np.cos(2 * np.pi * random.uniform(0.08, 0.5) * time)
    elif kind == 1:
        position = (random.uniform(1.5, 6) * time) % 1.0
        position = position if random.random() < 0.5 else 1 - np.abs(2 * position - 1)
    elif kind == 2:
        position = ((random.uniform(0.5, 2) * time) % 1.0 > 0.5).astype(float)
        ratio = random.uniform(1.15, 1.5)
    else:
        position = np.clip(time % random.uniform(5, 12) / random.uniform(2, 5), 0, 1)
    pitch = (low * ratio**position).astype(np.float32)
    if random.random() < 0.4:
        pitch *= 1 + random.uniform(0.01, 0.08) * np.tanh((np.arange(count) / count - random.random()) * -8).astype(
            "f4"
        )
    sound = tone(pitch, random, int(random.integers(1, 16)), random.uniform(0.5, 2.5))
    swell: Wave = (1 + 0.3 * smooth_curve(count, random, random.uniform(0.3, 6))).clip(0.1)
    return sound * swell


def horn(seconds: float, random: Random) -> Wave:
    """A vehicle's horn: one to three reedy notes in short or long blasts; also truck, ship, train, bicycle."""
    count = int(seconds * RATE_HZ)
    base = log_uniform(random, 130, 700)
    voices = [
        tone(np.full(count, base * r, np.float32), random, int(random.integers(8, 40)), random.uniform(0.1, 1.2))
        for r in random.choice([1, 1.19, 1.26, 1.33, 1.5], random.integers(1, 4), replace=False)
    ]
    return sum(voices) * on_off_curve(count, random, (0.08, 1.8), (0.08, 2), 0.015)


def bell(seconds: float, random: Random) -> Wave:
    """Struck metal or its imitation: doorbell, chime, clock, church bell, bicycle bell, wind chime, triangle."""
    count = int(seconds * RATE_HZ)
    notes = log_uniform(random, 250, 3500) * 2 ** (random.choice([0, -4, -3, -5, 4, 7, -7, 12, 2], 8) / 12)
    partials = random.choice([1, 2, 2.4, 3, 4.2, 5.4, 6.8, 8.2], random.integers(1, 7), replace=False)
    gains, decay = random.uniform(0.1, 1, len(partials)), log_uniform(random, 0.7, 25)
    spread = random.uniform(0, 1.2)

    def strike(number: int) -> Samples:
        time = np.arange(int(min(4.0, 6 / decay) * RATE_HZ), dtype=np.float32) / RATE_HZ
        wave = np.zeros(len(time), np.float32)
        for partial, gain in zip(partials, gains, strict=True):
            frequency = np.float32(2 * np.pi * notes[number % 8] * partial)
            wave += (
                np.float32(gain) * np.sin(frequency * time) * np.exp(-np.float32(decay * partial**spread) * time)
            )
        return wave

    if random.random() < 0.5:
        gap, notes_in_call = random.uniform(0.2, 1.0), random.integers(1, 5)
        start, pause = random.uniform(0, 1), random.uniform(1, 5)
        calls = np.arange(start, seconds, gap * notes_in_call + pause)
        times = (calls[:, None] + gap * np.arange(notes_in_call)).ravel()
    else:
        times = regular_times(seconds, log_uniform(random, 0.4, 14), random.choice([0.01, 0.5]), random)
    return placed_at(count, times, strike)


def beeps(seconds: float, random: Random) -> Wave:
    """Electronic tones in a pattern: alarm clock, smoke alarm, telephone, microwave, truck backing up, pager."""
    count = int(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    base = log_uniform(random, 350, 4200)
    on, pause = log_uniform(random, 0.03, 1.0), log_uniform(random, 0.03, 0.8)
    number, rest = int(random.integers(1, 6)), random.choice([0.0, random.uniform(0.3, 3)])
    first = random.uniform(0, number * (on + pause) + rest)
    pitch = np.full(count, base, np.float32)
    if random.random() < 0.4:
        trill = ((time * log_uniform(random, 5, 40)) % 1 > 0.5).astype(np.float32)
        pitch *= 1 + trill * random.uniform(0.05, 0.5)
    if random.random() < 0.3:
        melody = 2 ** (random.choice([0, 2, 4, 5, 7, 9, 12], 16) / 12)
        pitch *= melody[((time / (on + pause)).astype(int)) % 16].astype(np.float32)
    gate = repeated_gate(time + first, number, on, pause, rest, ramp=96)
    return tone(pitch, random, random.choice([1, 1, 3, 9, 30]), random.uniform(0.3, 2)) * gate


def smoke_alarm(seconds: float, random: Random) -> Wave:
    """A piezo horn: three long beeps and a pause (ISO 8201), four short ones (carbon monoxide), or as it likes.

    Most are nearly pure tones by the time they reach a microphone; some sweep so wide and fast that they buzz.
    """
    count = int(seconds * RATE_HZ)
    time = np.arange(count, dtype=np.float32) / RATE_HZ
    free = (1, log_uniform(random, 0.08, 2), log_uniform(random, 0.05, 3), 0.0)
    number, on, pause, rest = [(3, 0.5, 0.5, 1.0), (4, 0.1, 0.1, 4.8), (1, 1.0, 0.0, 0.0), free][
        random.choice(4, p=[0.35, 0.1, 0.2, 0.35])
    ]
    stretch = random.uniform(0.6, 1.2)
    on, pause, rest = on * stretch, pause * stretch, rest * stretch
    first = random.uniform(0, number * (on + pause))
    base = random.uniform(2600, 3700) if random.random() < 0.85 else random.uniform(500, 1100)
    pitch = np.full(count, base, np.float32)
    if random.random() < 0.5:  # many horns warble
        wave = (time * log_uniform(random, 2, 60)) % 1
        pitch *= 1 + log_uniform(random, 0.01, 0.5) * (wave if random.random() < 0.5 else wave > 0.5)
    gate = repeated_gate(time + first, number, on, pause, rest, ramp=240)
    return tone(pitch, random, random.choice([1, 2, 3, 5, 8]), random.uniform(0.5, 4)) * gate


def old_telephone(seconds: float, random: Random) -> Wave:
    """A bell struck twenty times a second in long rings."""
    count = int(seconds * RATE_HZ)
    times = regular_times(seconds, random.uniform(14, 32), 0.02, random)
    hits = pulses_at(count, times, np.ones(len(times)))
    rung = resonate(hits, *random_modes(random, 700, 4500, 5, (5, 60)))
    period, on = random.uniform(1.5, 6), random.uniform(0.4, 2)
    return rung * (((np.arange(count) / RATE_HZ + random.uniform(0, period)) % period) < on)
