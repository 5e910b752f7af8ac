"""What the procedural sounds are made of: random curves and times, pulses, tones, filters, resonances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from training.effects import Random, Samples, Wave
from training.paths import RATE_HZ

Times = NDArray[np.float64]
"""Seconds from the start of a sound."""


def log_uniform(random: Random, low: float, high: float) -> float:
    """A number between `low` and `high`, uniform in its logarithm."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def smooth_curve(count: int, random: Random, rate_hz: float) -> Samples:
    """A slow random curve of about unit variance, changing `rate_hz` times a second."""
    knots = max(2, int(count / RATE_HZ * rate_hz) + 2)
    curve = np.interp(np.linspace(0, knots - 1, count), np.arange(knots), random.standard_normal(knots))
    return curve.astype(np.float32)


def filtered(samples: Samples, gains: Callable[[Samples], NDArray[np.complex64] | Samples]) -> Samples:
    """Multiply the spectrum by `gains` of the frequencies (Hz)."""
    size = scipy.fft.next_fast_len(len(samples) + RATE_HZ // 4, real=True)
    spectrum = scipy.fft.rfft(samples, size)
    spectrum *= gains(np.linspace(0, RATE_HZ / 2, len(spectrum), dtype=np.float32))
    changed: Samples = scipy.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)
    return changed


def resonate(samples: Samples, centres: Wave, decays: Wave, gains: Wave) -> Samples:
    """Ring damped modes: centre frequencies (Hz), decay rates (1/s), gains."""

    def response(frequencies: Samples) -> NDArray[np.complex64]:
        total = np.zeros(len(frequencies), np.complex64)
        for centre, decay, gain in zip(centres, decays, gains, strict=True):
            total += gain * decay / (decay + 2j * np.pi * (frequencies - centre))
        return total

    return filtered(samples, response)


def random_modes(random: Random, low: float, high: float, count: int, decay: tuple[float, float]) -> list[Samples]:
    """Modes for `resonate` between `low` and `high` Hz: centre frequencies (Hz), decay rates (1/s), gains."""
    centres = np.exp(random.uniform(np.log(low), np.log(high), count))
    decays = np.exp(random.uniform(np.log(decay[0]), np.log(decay[1]), count)) * (centres / low) ** 0.3
    return [centres.astype("f4"), decays.astype("f4"), (10 ** random.normal(0, 0.4, count)).astype("f4")]


def pulses_at(count: int, times: Times, amplitudes: NDArray[np.float64]) -> Samples:
    """Impulses of one sample at `times` (s)."""
    samples = np.zeros(count, np.float32)
    index = (times * RATE_HZ).astype(int)
    inside = (index >= 0) & (index < count)
    np.add.at(samples, index[inside], amplitudes[inside].astype(np.float32))
    return samples


def regular_times(seconds: float, rate_hz: float, jitter: float, random: Random) -> Times:
    """Times of about `rate_hz` events a second with relative `jitter` of the gaps."""
    number = max(1, int(seconds * rate_hz) + 1)
    gaps = (1 + jitter * random.standard_normal(number)).clip(0.2) / rate_hz
    times: Times = np.cumsum(gaps) - gaps[0] * random.random()
    return times


def poisson_times(seconds: float, rate_hz: float, random: Random) -> Times:
    """Times (s) of independent events, `rate_hz` of them a second on average, at least one."""
    return np.sort(random.uniform(0, seconds, max(1, random.poisson(rate_hz * seconds))))


def tone(pitch: Wave, random: Random, harmonics: int, slope: float) -> Samples:
    """A periodic wave of random timbre along `pitch` (Hz a sample); partial k falls as k**-slope."""
    highest = int(max(1, min(harmonics, 20000 / max(20.0, float(pitch.max())))))
    spectrum = np.zeros(2048, np.complex64)
    partial = np.arange(1, highest + 1)
    amplitude = partial ** -float(slope) * 10 ** random.normal(0, 0.25, highest)
    spectrum[1 : highest + 1] = amplitude * np.exp(2j * np.pi * random.random(highest))
    table = np.fft.irfft(spectrum, 4096).astype(np.float32)
    table /= np.std(table) + 1e-9
    phase = np.cumsum(pitch / RATE_HZ, dtype=np.float64) % 1.0
    wave: Samples = table[(phase * 4096).astype(int) % 4096]
    return wave


def on_off_curve(
    count: int, random: Random, on: tuple[float, float], off: tuple[float, float], ramp: float
) -> Samples:
    """A 0..1 curve that is on and off for random times (s), with ramps of `ramp` seconds."""
    times, values, at = [0.0], [float(random.random() < 0.7)], 0.0
    while at < count / RATE_HZ:
        state = values[-1]
        at += random.uniform(*(on if state else off))
        times += [at, at + ramp]
        values += [state, 1.0 - state]
    return np.interp(np.arange(count) / RATE_HZ, times, values).astype(np.float32)


def repeated_gate(time: Wave, number: int, on: float, pause: float, rest: float, ramp: int) -> Samples:
    """A 0..1 curve along `time`: `number` times on and off (s), then `rest`, and so on; ramps of `ramp` samples."""
    beeping = number * (on + pause)
    inside = time % (beeping + rest)
    gate = ((inside % (on + pause)) < on) & (inside < beeping)
    return np.convolve(gate.astype(np.float32), np.ones(ramp, np.float32) / ramp, "same").astype(np.float32)


def normalised(wave: Wave) -> Wave:
    """The sound with an RMS of 1."""
    unit: Wave = wave / (np.std(wave) + 1e-9)
    return unit


def placed_at(count: int, times: Times, make: Callable[[int], Wave]) -> Samples:
    """Silence with `make(i)` added at each of `times` (s)."""
    samples = np.zeros(count, np.float32)
    for number, time in enumerate(times):
        first = int(time * RATE_HZ)
        if 0 <= first < count:
            part = make(number)[: count - first]
            samples[first : first + len(part)] += part
    return samples
