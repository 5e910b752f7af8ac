"""FFmpeg's libraries through PyAV, which is optional: whether it is installed, and its audio frames as samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.samples import full_scale

if TYPE_CHECKING:
    import av


AV_PACKAGE = "the package av: pip install 'clapstream[stream]'"


SAMPLE_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
"""FFmpeg's names of sample formats, in numpy's terms; a name that ends in p has a plane for each channel."""


def av_is_installed() -> bool:
    """Whether PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def float_samples(decoded: av.AudioFrame) -> NDArray[np.float32]:
    """Return sound `(samples, channels)`, full scale 1.0, of integers or floats, planar or interleaved.

    ValueError for a sample format that is not known.
    """
    # Not by PyAV's to_ndarray: with eight channels and more it reads planes behind the last one, and crashes.
    channels = decoded.layout.nb_channels
    try:
        kind = SAMPLE_TYPES[decoded.format.name.removesuffix("p")]
    except KeyError:
        raise ValueError(f"samples in the unknown format {decoded.format.name}") from None
    if decoded.format.is_planar:
        planes = [np.frombuffer(memoryview(plane), kind, decoded.samples) for plane in decoded.planes[:channels]]
        return full_scale(np.stack(planes, axis=1))
    return full_scale(
        np.frombuffer(memoryview(decoded.planes[0]), kind, decoded.samples * channels).reshape(-1, channels)
    )
