"""Log-mel spectrograms as CLAP was trained on them: a plain function of the waveform, on the CPU or the GPU.

The Fourier transform runs in double precision. In single precision the rounding noise of a loud bin covers quiet
ones, which decibels then show: 0.1 dB beside a pure tone.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.mel_scale import MelScale, hertz_to_mel, mel_to_hertz

POWER_FLOOR = 1e-10
"""The least mel power; `10 log10` of it, -100 dB, is digital silence."""

FRAMES_AT_ONCE = 128
"""On the CPU so many frames and their spectra stay in the cache: a 10 s window takes two thirds of the time."""

FRAMES_AT_ONCE_ON_GPU = 1 << 15
"""Enough to keep a GPU busy, in less than a gigabyte: a batch of 64 windows has twice as many frames."""


def mel_filters(
    scale: MelScale, mel_bins: int, fft_size: int, rate_hz: int, minimum_hz: float, maximum_hz: float
) -> NDArray[np.float64]:
    """Triangular filters `(fft_size // 2 + 1, mel_bins)`: peak 1 on the HTK scale, equal area on Slaney's."""
    edges_mel = np.linspace(hertz_to_mel(minimum_hz, scale), hertz_to_mel(maximum_hz, scale), mel_bins + 2)
    edges_hz = mel_to_hertz(edges_mel, scale)
    bins_hz = np.linspace(0, rate_hz // 2, fft_size // 2 + 1)
    distance = edges_hz[None, :] - bins_hz[:, None]
    width = np.diff(edges_hz)
    rising = -distance[:, :-2] / width[:-1]
    falling = distance[:, 2:] / width[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if scale == "slaney":
        filters *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return filters


@functools.lru_cache(maxsize=8)
def hann_window(size: int, device: torch.device) -> Tensor:
    """The periodic Hann window `(size,)` in double precision."""
    with torch.inference_mode(False):  # kept for whoever comes next, who may want gradients
        return torch.hann_window(size, periodic=True, dtype=torch.float64, device=device)


def log_mel(waveform: Tensor, filters: Tensor, fft_size: int, hop: int, *, centered: bool = True) -> Tensor:
    """Log-mel spectrogram in dB (full scale 1.0): `(batch, samples)` -> float32 `(batch, frames, mel_bins)`.

    `filters` is `(bins, mel_bins)` for the lowest of the `fft_size // 2 + 1` bins; see `without_empty_top`.
    Centered, frame i is centered on sample i * hop and the edges are mirrored, which makes samples // hop + 1
    frames; otherwise frame i begins at sample i * hop, and the caller who keeps fft_size // 2 samples on both sides
    gets exactly the frames of the longer, centered sound.

    Raises:
        ValueError: the sound is too short to mirror (centered) or to fill one frame.
    """
    shortest = fft_size // 2 + 1 if centered else fft_size
    if waveform.shape[-1] < shortest:
        raise ValueError(f"a sound of {waveform.shape[-1]} samples is too short, at least {shortest} are needed")
    with torch.autocast(waveform.device.type, enabled=False):
        samples = waveform.double()
        if centered:
            samples = torch.nn.functional.pad(samples, (fft_size // 2, fft_size // 2), mode="reflect")
        frames = samples.unfold(-1, fft_size, hop)
        at_once = max(1, (FRAMES_AT_ONCE_ON_GPU if waveform.is_cuda else FRAMES_AT_ONCE) // len(waveform))
        powers = [mel_power(part, filters) for part in torch.split(frames, at_once, dim=-2)]
        return torch.cat(powers, dim=-2).clamp_(min=POWER_FLOOR).log10_().mul_(10.0)


def mel_power(frames: Tensor, filters: Tensor) -> Tensor:
    """Power in each mel bin: float64 `(..., fft_size)` -> float32 `(..., mel_bins)`."""
    window = hann_window(frames.shape[-1], frames.device)
    spectrum = torch.fft.rfft(frames * window)[..., : len(filters)]
    # Powers do not cancel each other out when they are summed, so single precision is enough from here.
    real, imaginary = spectrum.real.float(), spectrum.imag.float()
    power: Tensor = real.square_().addcmul_(imaginary, imaginary) @ filters
    return power


def without_empty_top(filters: NDArray[np.float64]) -> Tensor:
    """Filters for `log_mel` in single precision, without the highest bins, which no filter reads."""
    read = np.flatnonzero(filters.any(axis=1))
    return torch.from_numpy(filters[: read[-1] + 1 if len(read) else 1]).float()
