"""FFmpeg's libraries through PyAV, which is optional: whether it is there, and its frames as samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.samples import full_scale

if TYPE_CHECKING:
    import av


AV_PACKAGE = "the package av: pip install 'clapstream[stream]'"


def av_is_installed() -> bool:
    """Whether PyAV can be imported."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def float_samples(decoded: av.AudioFrame) -> NDArray[np.float32]:
    """Return samples `(frames, channels)`, full scale 1.0, of integers or floats, planar or interleaved.

    ValueError for a sample format that PyAV cannot convert.
    """
    planes = decoded.to_ndarray()
    return full_scale(planes.T if decoded.format.is_planar else planes.reshape(decoded.samples, -1))
