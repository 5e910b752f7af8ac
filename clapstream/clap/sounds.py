"""Reads what a caller hands over as audio: one mono sound or several, in every form that NumPy can read.

What cannot be audio is refused by name, and what is probably a mistake (channels taken for sounds, PCM that is not
scaled, NaN) is refused or warned of, since a model gives an embedding for anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import warn

Clip = NDArray[Any] | Tensor | Sequence[float]

NAME = "audio (raw_speech)"
"""What the argument is called by the processor and by the feature extractor."""

MOST_CHANNELS = 32
"""Rows of a batch that are no longer than this are the samples of so many channels, not sounds."""

LOUDEST = 16.0
"""Full scale is 1.0. Noise of unit variance reaches five or six; PCM that is not scaled goes far beyond."""

NATIVE = [np.dtype(kind) for kind in (np.float16, np.float32, np.float64, np.uint8, np.int16, np.int32, np.int64)]
"""What PyTorch computes with in every version."""


def read_sounds(raw_speech: Any, device: torch.device | str | None, shortest: int) -> list[Tensor]:
    """The single sounds in double precision, `(samples,)` each; `shortest` is the least for rows of a 2-D array.

    Raises:
        TypeError: something that is not audio: a path, a dictionary, text, None.
        ValueError: sound that is empty, not mono, or of numbers that are not samples.
    """
    clips = [as_clip(clip) for clip in split_sounds(raw_speech, shortest)]
    warn_of_levels(clips)
    return [clip.to(device).double() for clip in clips]


def split_sounds(raw_speech: Any, shortest: int) -> list[Any]:
    """What may be single sounds, told apart by the number of axes and by the first element."""
    refuse_other_types(raw_speech)
    if not isinstance(raw_speech, Tensor) and (hasattr(raw_speech, "__array__") or is_number(raw_speech)):
        raw_speech = np.asarray(raw_speech)
    if isinstance(raw_speech, (np.ndarray, Tensor)):
        if raw_speech.ndim > 2:
            shape = tuple(raw_speech.shape)
            raise ValueError(f"{NAME} must be mono, (samples,) or (batch, samples), not {shape}")
        if raw_speech.ndim < 2:
            return [raw_speech]
        check_rows(tuple(raw_speech.shape), shortest)
        return list(raw_speech)
    items = list(raw_speech)
    if not items:
        raise ValueError(f"{NAME}: a sound must be mono and not empty, not []")
    if is_number(items[0]):
        return [items]
    for item in items:
        refuse_other_types(item)
    lengths = {len(item) if hasattr(item, "__len__") else -1 for item in items}
    if len(lengths) == 1 and 0 < max(lengths) <= min(MOST_CHANNELS, len(items) - 1):
        raise ValueError(too_short((len(items), *lengths)))
    return items


def refuse_other_types(value: Any) -> None:
    """Raise TypeError for a value that cannot be audio, saying what to give instead."""
    if isinstance(value, (str, bytes, bytearray, PathLike)):
        hint = "read the file first: audio, sampling_rate = soundfile.read(path)"
    elif isinstance(value, Mapping):
        hint = "give its array and its sampling_rate: audio['array'], sampling_rate=audio['sampling_rate']"
    elif value is None or isinstance(value, AbstractSet) or not is_audio_like(value):
        hint = "give an array of samples or a list of such arrays"
    else:
        return
    raise TypeError(f"{NAME} must be samples, not {type(value).__name__}; {hint}")


def is_audio_like(value: Any) -> bool:
    """Whether this may hold samples."""
    return is_number(value) or isinstance(value, Iterable) or hasattr(value, "__array__")


def is_number(value: Any) -> bool:
    """Whether this is a single value: a number, or an array without axes."""
    return isinstance(value, (int, float, complex, np.generic)) or getattr(value, "ndim", None) == 0


def check_rows(shape: tuple[int, ...], shortest: int) -> None:
    """Raise ValueError for rows too short to be sounds, and warn where two rows may be two channels.

    No sound that means something is shorter than half an FFT window (11 ms), while `(samples, channels)`, as
    soundfile reads it, has rows of a few samples. `(2, samples)` may as well be stereo with the channels first
    (torchaudio, librosa) as a batch of two, which is what transformers takes it for.
    """
    rows, samples = shape
    if rows == 0 or samples == 0:
        raise ValueError(f"{NAME} must be not empty, (samples,) or (batch, samples), not {shape}")
    if samples < shortest:
        raise ValueError(too_short(shape))
    if rows == 2:
        warn(
            f"{NAME} of shape {shape} is read as a batch of two sounds; if it is stereo, mix it down with "
            "audio.mean(axis=0), and if not, give a list of two arrays"
        )


def too_short(shape: tuple[int, ...]) -> str:
    """What to say of rows that are hardly sounds: which axis is that of the channels, if they are channels."""
    rows, samples = shape
    message = f"{NAME} of shape {shape} would be {rows} sounds of {samples} samples; sounds must be mono: "
    if rows >= samples:
        return f"{message}mix (samples, channels) down with audio.mean(axis=1)"
    return f"{message}mix (channels, samples) down with audio.mean(axis=0), or give a list of so short sounds"


def as_clip(clip: Any) -> Tensor:
    """One sound `(samples,)` of real numbers, in the precision that it has."""
    if not isinstance(clip, Tensor):
        clip = from_array(clip)
    sound: Tensor = clip
    if sound.ndim != 1 or len(sound) == 0:
        shape = tuple(sound.shape)
        mix = ""
        if len(shape) == 2:
            mix = f"; mix channels down with audio.mean(axis={int(shape[0] >= shape[1])})"
        raise ValueError(f"{NAME}: a sound must be mono and not empty, (samples,), not {shape}{mix}")
    if sound.is_complex() or sound.dtype == torch.bool:
        raise ValueError(f"{NAME} must be real samples, not {str(sound.dtype).removeprefix('torch.')}")
    return sound


def from_array(clip: Any) -> Tensor:
    """What NumPy can read as a tensor: in this machine's byte order, and a copy if it is read-only."""
    try:
        array = np.asarray(clip)
    except ValueError as error:
        raise ValueError(f"{NAME}: a sound must be mono, a list of numbers: {error}") from error
    if array.dtype.kind not in "fiucb":
        raise ValueError(f"{NAME} must be real samples, not {array.dtype}; give a list for several sounds")
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind in "iuf" and dtype not in NATIVE:
        dtype = np.dtype(np.float64 if dtype.kind == "f" else np.int64)
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def warn_of_levels(clips: Sequence[Tensor]) -> None:
    """Warn, once, of samples that are not finite or that are far beyond full scale, which is 1.0."""
    for clip in clips:
        low, high = (float(value) for value in torch.aminmax(clip.detach()))
        if not np.isfinite((low, high)).all():
            warn(f"{NAME} has samples that are NaN or infinite; its embedding will be of no use")
            break
        if max(-low, high) > (LOUDEST if clip.is_floating_point() else 1.0):
            kind = str(clip.dtype).removeprefix("torch.")
            warn(
                f"{NAME} has {kind} samples from {low:g} to {high:g}, but full scale is 1.0; divide 16-bit PCM by "
                "32768"
            )
            break
