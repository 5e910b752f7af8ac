"""What happens to sound on its way to a microphone: distance, reverberation, equalisation, distortion."""

from __future__ import annotations

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from training.paths import RATE_HZ

Samples = NDArray[np.float32]
Wave = NDArray[np.floating]
"""Samples in any precision."""
Random = np.random.Generator


def decibel(value: float) -> float:
    """Amplitude factor of `value` dB."""
    return float(10 ** (value / 20))


def level_db(samples: Samples) -> float:
    """RMS level of the louder half of 50 ms stretches, so that a short sound counts as loud as it is."""
    usable = len(samples) // 2400 * 2400
    if usable == 0:
        return float(10 * np.log10(np.mean(samples**2) + 1e-12))
    power = np.mean(samples[:usable].reshape(-1, 2400) ** 2, axis=1)
    return float(10 * np.log10(np.mean(np.sort(power)[-max(1, len(power) // 2) :]) + 1e-12))


def to_level(samples: Samples, target_db: float) -> Samples:
    """Scale to `target_db` (see `level_db`)."""
    return samples * np.float32(decibel(min(60.0, target_db - level_db(samples))))


def speed(samples: Samples, ratio: float) -> Samples:
    """Play `ratio` times faster: shorter and higher."""
    faster: Samples = soxr.resample(samples, RATE_HZ * ratio, RATE_HZ, quality="LQ")
    return faster


def random_curve(frequencies: NDArray[np.float32], random: Random, spread_db: float) -> NDArray[np.float32]:
    """A smooth random equaliser: gain factors at `frequencies` (Hz), knots about an octave and a half apart."""
    knots = np.log2(np.array([30, 80, 200, 500, 1200, 3000, 7000, 14000, 24000]))
    gains = random.normal(0, spread_db, len(knots)) + random.normal(0, spread_db / 6) * (knots - 10)
    curve: Samples = (10 ** (np.interp(np.log2(frequencies + 1), knots, gains) / 20)).astype(np.float32)
    return curve


def band_limit(frequencies: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """Gain factors of a narrow channel: small loudspeaker, telephone, low-rate recording, window pane."""
    low = random.choice([0, 0, 60, 120, 300])
    high = random.choice([24000, 16000, 11000, 8000, 5500, 4000, 2000], p=[0.3, 0.15, 0.15, 0.15, 0.1, 0.1, 0.05])
    order = random.choice([2, 8])
    gains = 1 / (1 + (frequencies / high) ** (2 * order))
    if low:
        gains = gains / (1 + (low / (frequencies + 1)) ** 4)
    response: Samples = np.sqrt(gains).astype(np.float32)
    return response


def room_response(random: Random) -> Samples:
    """A room's impulse response: the direct path and a diffuse tail that decays exponentially, treble first."""
    decay_seconds = float(np.exp(random.uniform(np.log(0.1), np.log(1.8))))
    length = int(min(decay_seconds, 1.2) * RATE_HZ)
    time = np.arange(length, dtype=np.float32) / RATE_HZ
    tail = random.standard_normal(length, dtype=np.float32)
    dull = np.cumsum(tail, dtype=np.float32)
    dull = np.diff(dull[::1], prepend=0) + np.concatenate([[0], tail[:-1]]).astype(np.float32)
    tail = (tail * np.exp(-13.8 * time / decay_seconds) + dull * np.exp(-6.9 * time / decay_seconds)) * 0.5
    tail[: int(random.uniform(0.001, 0.02) * RATE_HZ)] = 0
    tail *= decibel(random.uniform(-18, 4)) / np.sqrt(np.sum(tail**2) + 1e-9)
    tail[0] = 1.0
    return tail


def colour(samples: Samples, random: Random, *, spread_db: float, room: bool, narrow: bool) -> Samples:
    """Equalise, band-limit and put in a room, in one pass through the frequency domain."""
    response = room_response(random) if room else None
    length = len(samples) + (len(response) if response is not None else 0)
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(samples, size)
    frequencies = np.linspace(0, RATE_HZ / 2, len(spectrum), dtype=np.float32)
    if response is not None:
        spectrum *= scipy.fft.rfft(response, size)
    if spread_db:
        spectrum *= random_curve(frequencies, random, spread_db)
    if narrow:
        spectrum *= band_limit(frequencies, random)
    changed: Samples = scipy.fft.irfft(spectrum, size)[:length].astype(np.float32)
    return changed


def overload(samples: Samples, random: Random) -> Samples:
    """Clipping, saturation or coarse quantisation, as by a microphone or a codec."""
    peak = float(np.max(np.abs(samples))) + 1e-9
    kind = random.integers(3)
    if kind == 0:
        drive = random.uniform(1.5, 8)
        clipped: Samples = np.clip(samples * drive, -peak, peak) / np.float32(drive**0.5)
        return clipped
    if kind == 1:
        saturated: Samples = np.tanh(samples / peak * random.uniform(1, 6)).astype(np.float32) * np.float32(peak)
        return saturated
    steps = 2 ** random.integers(6, 10)
    quantised: Samples = np.round(samples / peak * steps).astype(np.float32) * np.float32(peak / steps)
    return quantised


def fade_ends(samples: Samples, seconds: float = 0.005) -> Samples:
    """Ramp in and out so that a cut makes no click."""
    count = min(len(samples) // 2, int(seconds * RATE_HZ))
    if count:
        ramp = np.linspace(0, 1, count, dtype=np.float32)
        samples = samples.copy()
        samples[:count] *= ramp
        samples[-count:] *= ramp[::-1]
    return samples


def tilted_noise(count: int, random: Random, decibel_per_octave: float) -> Samples:
    """Noise with the given spectral slope, RMS 1."""
    size = scipy.fft.next_fast_len(count, real=True)
    spectrum = scipy.fft.rfft(random.standard_normal(size, dtype=np.float32))
    frequencies = np.linspace(0, RATE_HZ / 2, len(spectrum), dtype=np.float32)
    spectrum *= (np.maximum(frequencies, 20) / 1000) ** np.float32(decibel_per_octave / 6.02)
    noise = scipy.fft.irfft(spectrum, size)[:count].astype(np.float32)
    unit: Samples = noise / np.float32(np.std(noise) + 1e-9)
    return unit
