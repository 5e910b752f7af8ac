"""Cutting, repeating and levelling the sounds that scenes are made of: mono samples `(samples,)` at 48 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.paths import RATE_HZ

Floats = NDArray[np.float32]


def trim(samples: Floats) -> Floats:
    """Cut off what is 30 dB below the loudest 20 ms at either end: an event lasts as long as it is audible."""
    count = max(1, len(samples) // (RATE_HZ // 50))
    rms = np.array([np.sqrt(np.mean(part**2)) for part in np.array_split(samples, count)])
    loud = np.flatnonzero(rms >= rms.max() * 10 ** (-30 / 20))
    edges = np.linspace(0, len(samples), count + 1).astype(int)
    return samples[edges[loud[0]] : edges[loud[-1] + 1]]


def extend(samples: Floats, count: int) -> Floats:
    """Repeat a sound until it has `count` samples; one that is long enough is cut."""
    result = samples
    while len(result) < count:
        result = join(result, samples)
    return result[:count]


def join(first: Floats, second: Floats) -> Floats:
    """One sound after the other, cross-faded over 50 ms so that the join does not click."""
    fade = min(RATE_HZ // 20, len(first) // 2, len(second) // 2)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    head, tail = np.split(first, [len(first) - fade])
    return np.concatenate([head, tail * (1 - ramp) + second[:fade] * ramp, second[fade:]])


def at_level(samples: Floats, rms_dbfs: float) -> Floats:
    """Scale to an RMS level (a full-scale square wave is 0 dBFS), or less where peaks would clip."""
    rms = float(np.sqrt(np.mean(samples**2)))
    gain = 10 ** (rms_dbfs / 20) / max(rms, 1e-9)
    scaled: Floats = samples * np.float32(min(gain, 0.9 / max(float(np.abs(samples).max()), 1e-9)))
    return scaled
