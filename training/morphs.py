"""New sounds out of two recordings: nobody knows their names, but the teacher can say what they are like.

A few thousand recordings are few, and a student learns them by heart. What it has to copy, the teacher's opinion,
can be had of any sound at all; these lie near real ones and are never twice the same.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.ndimage
import scipy.signal

from training.effects import Random, Samples, fade_ends
from training.paths import RATE_HZ

FRAME = 1024
HOP = 512
SHORTEST = RATE_HZ // 10


def morph(samples: Samples, other: Samples, random: Random) -> Samples:
    """One of the ways below, drawn at random; `other` lends its spectrum, its envelope or its bands."""
    samples, other = (np.pad(part, (0, max(0, SHORTEST - len(part)))) for part in (samples, other))
    kind = random.integers(6)
    if kind == 0:
        changed = cross(samples, other)
    elif kind == 1:
        changed = imprint(samples, other)
    elif kind == 2:
        changed = shuffle_grains(samples, random)
    elif kind == 3:
        changed = texture(samples, random)
    elif kind == 4:
        changed = np.ascontiguousarray(samples[::-1])
    else:
        changed = vocode(samples, other, random)
    peak = np.max(np.abs(changed)) + 1e-9
    return (changed / peak).astype(np.float32)


def cross(carrier: Samples, shape: Samples) -> Samples:
    """Give `carrier` the long-term spectrum of `shape`."""
    size = 4096
    spectrum = np.abs(np.fft.rfft(np.resize(shape, (max(1, len(shape) // size), size)))).mean(0) + 1e-9
    own = np.abs(np.fft.rfft(np.resize(carrier, (max(1, len(carrier) // size), size)))).mean(0) + 1e-9
    gains = (spectrum / own).clip(0, 100)
    whole = np.fft.rfft(carrier)
    whole *= np.interp(np.linspace(0, 1, len(whole)), np.linspace(0, 1, len(gains)), gains)
    return np.fft.irfft(whole, len(carrier)).astype(np.float32)


def envelope(samples: Samples) -> Samples:
    """Slow loudness: amplitude smoothed over 20 ms."""
    return np.sqrt(scipy.ndimage.uniform_filter1d(samples**2, RATE_HZ // 50).clip(0) + 1e-10)


def imprint(carrier: Samples, shape: Samples) -> Samples:
    """Let `carrier` come and go as `shape` does."""
    own = envelope(carrier)
    gains = np.resize(envelope(shape), len(carrier)) / (own + 0.02 * own.max() + 1e-7)
    return carrier * gains


def shuffle_grains(samples: Samples, random: Random) -> Samples:
    """Cut into grains of 40 to 400 ms and lay them in another order."""
    size = int(RATE_HZ * np.exp(random.uniform(np.log(0.04), np.log(0.4))))
    grains = [samples[first : first + size] for first in range(0, len(samples), size)]
    return np.concatenate([fade_ends(grains[index], 0.003) for index in random.permutation(len(grains))])


def texture(samples: Samples, random: Random) -> Samples:
    """Keep the spectrum of stretches of 0.1 to 1 s and forget all order in them."""
    size = int(RATE_HZ * random.uniform(0.1, 1)) // 2 * 2
    if len(samples) < size:
        samples = np.resize(samples, size)
    window = np.hanning(size).astype(np.float32)
    changed = np.zeros(len(samples), np.float32)
    for first in range(0, len(samples) - size + 1, size // 2):
        spectrum = np.fft.rfft(samples[first : first + size] * window)
        spectrum = np.abs(spectrum) * np.exp(2j * np.pi * random.random(len(spectrum)))
        changed[first : first + size] += np.fft.irfft(spectrum, size).astype(np.float32) * window
    return changed


def vocode(carrier: Samples, shape: Samples, random: Random) -> Samples:
    """Let the bands of `carrier` move as those of `shape` do."""
    bands = int(random.choice([8, 16, 32]))
    edges = np.unique(np.geomspace(2, FRAME // 2 + 1, bands + 1).astype(int))
    _, _, own = scipy.signal.stft(carrier, nperseg=FRAME, noverlap=FRAME - HOP)
    _, _, wanted = scipy.signal.stft(np.resize(shape, len(carrier)), nperseg=FRAME, noverlap=FRAME - HOP)
    floor = 0.01 * np.abs(own).max() + 1e-9
    for low, high in pairwise(edges):
        level = np.sqrt((np.abs(own[low:high]) ** 2).mean(0))
        aimed = np.sqrt((np.abs(wanted[low:high]) ** 2).mean(0))
        own[low:high] *= aimed / (level + floor)
    _, changed = scipy.signal.istft(own, nperseg=FRAME, noverlap=FRAME - HOP)
    return changed[: len(carrier)].astype(np.float32)
