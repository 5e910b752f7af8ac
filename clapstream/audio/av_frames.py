"""What FFmpeg's decoders give, as samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.samples import full_scale

if TYPE_CHECKING:
    import av


def float_samples(decoded: av.AudioFrame) -> NDArray[np.float32]:
    """Return samples `(frames, channels)`, full scale 1.0, of integers or floats, planar or interleaved.

    ValueError for a sample format that PyAV cannot convert.
    """
    planes = decoded.to_ndarray()
    return full_scale(planes.T if decoded.format.is_planar else planes.reshape(decoded.samples, -1))
