"""Conversions of samples that all sources share: limits, scale and channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.channels import channel_index, check_channel_exists


def sane_samples(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Return samples of any shape limited to full scale, and how many were not finite: those become 0.

    Floating-point formats can hold anything; past full scale a converter clips, and so does CLAP's own
    preparation of its training sound (laion_clap, `training/data.py`, float32_to_int16).
    """
    finite = np.isfinite(samples)
    replaced = int(samples.size - np.count_nonzero(finite))
    if replaced:
        samples = np.where(finite, samples, np.float32(0.0))
    return np.clip(samples, -1.0, 1.0), replaced


def full_scale(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples of any shape as floats whose full scale is 1.0; integers are centred on 0, bytes on 128."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128.0)) / np.float32(128.0)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which `sane_samples` replaces
        scaled = samples.astype(np.float32)
    return scaled / np.float32(-np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else scaled


def choose_channel(samples: NDArray[np.float32], channel: str | int) -> NDArray[np.float32]:
    """Return mono `(samples,)` of sound `(samples, channels)`: the mean for mix, else the chosen channel.

    LookupError if there is no such channel.
    """
    if channel == "mix":
        mixed: NDArray[np.float32] = np.mean(samples, axis=1, dtype=np.float32)
        return mixed
    check_channel_exists("the sound", samples.shape[1], channel)
    chosen: NDArray[np.float32] = samples[:, channel_index(channel)]
    return chosen
