"""New sounds made of two recordings: they have no label, but the teacher tags them as it tags any sound.

A few thousand recordings are few, and a student would memorise them. These sounds resemble real ones and are never
the same twice.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.ndimage
import scipy.signal

from training.effects import Random, Samples, fade_ends
from training.paths import RATE_HZ

FFT_SIZE, FFT_HOP = 1024, 512
SHORTEST_SAMPLES = RATE_HZ // 10


def morph(samples: Samples, other: Samples, random: Random) -> Samples:
    """One of the ways below, drawn at random; `other` lends its spectrum, its envelope or its bands."""
    samples, other = (np.pad(part, (0, max(0, SHORTEST_SAMPLES - len(part)))) for part in (samples, other))
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
    scaled: Samples = (changed / peak).astype(np.float32)
    return scaled


def cross(carrier: Samples, shape: Samples) -> Samples:
    """The carrier with the long-term spectrum of `shape`."""
    size = 4096
    spectrum = np.abs(np.fft.rfft(np.resize(shape, (max(1, len(shape) // size), size)))).mean(0) + 1e-9
    own = np.abs(np.fft.rfft(np.resize(carrier, (max(1, len(carrier) // size), size)))).mean(0) + 1e-9
    gains = (spectrum / own).clip(0, 100)
    whole = np.fft.rfft(carrier)
    whole *= np.interp(np.linspace(0, 1, len(whole)), np.linspace(0, 1, len(gains)), gains)
    changed: Samples = np.fft.irfft(whole, len(carrier)).astype(np.float32)
    return changed


def envelope(samples: Samples) -> Samples:
    """The RMS amplitude over 20 ms around each sample."""
    smoothed: Samples = np.sqrt(scipy.ndimage.uniform_filter1d(samples**2, RATE_HZ // 50).clip(0) + 1e-10)
    return smoothed


def imprint(carrier: Samples, shape: Samples) -> Samples:
    """The carrier with the envelope of `shape`."""
    own = envelope(carrier)
    gains = np.resize(envelope(shape), len(carrier)) / (own + 0.02 * own.max() + 1e-7)
    changed: Samples = carrier * gains
    return changed


def shuffle_grains(samples: Samples, random: Random) -> Samples:
    """The sound cut into grains of 40 to 400 ms, in random order."""
    size = int(RATE_HZ * np.exp(random.uniform(np.log(0.04), np.log(0.4))))
    grains = [samples[first : first + size] for first in range(0, len(samples), size)]
    return np.concatenate([fade_ends(grains[index], 0.003) for index in random.permutation(len(grains))])


def texture(samples: Samples, random: Random) -> Samples:
    """The spectrum of stretches of 0.1 to 1 s with random phases: the texture without the order."""
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
    """The carrier with the level of each frequency band following that of `shape`."""
    bands = int(random.choice([8, 16, 32]))
    edges = np.unique(np.geomspace(2, FFT_SIZE // 2 + 1, bands + 1).astype(int))
    _, _, own = scipy.signal.stft(carrier, nperseg=FFT_SIZE, noverlap=FFT_SIZE - FFT_HOP)
    _, _, wanted = scipy.signal.stft(np.resize(shape, len(carrier)), nperseg=FFT_SIZE, noverlap=FFT_SIZE - FFT_HOP)
    floor = 0.01 * np.abs(own).max() + 1e-9
    for low, high in pairwise(edges):
        level = np.sqrt((np.abs(own[low:high]) ** 2).mean(0))
        aimed = np.sqrt((np.abs(wanted[low:high]) ** 2).mean(0))
        own[low:high] *= aimed / (level + floor)
    _, changed = scipy.signal.istft(own, nperseg=FFT_SIZE, noverlap=FFT_SIZE - FFT_HOP)
    vocoded: Samples = changed[: len(carrier)].astype(np.float32)
    return vocoded
