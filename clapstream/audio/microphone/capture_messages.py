"""What a capture process writes: a header (`HEADER`: kind, index of the first sample, payload bytes) and a payload.

A format (JSON) comes first, then sound: interleaved float32 in native byte order. A failure (JSON) is the last one.
"""

from __future__ import annotations

import json
import struct
from typing import BinaryIO

HEADER = struct.Struct("=cqI")
FORMAT, SOUND, FAILURE = b"F", b"S", b"X"


def write_format(out: BinaryIO, rate_hz: int, channels: int, latency_seconds: float) -> None:
    """Write what the device delivers, and its latency."""
    shape = {"rate_hz": rate_hz, "channels": channels, "latency_seconds": latency_seconds}
    _write(out, FORMAT, 0, json.dumps(shape).encode())


def write_sound(out: BinaryIO, first_sample: int, samples: bytes) -> None:
    """Write interleaved float32; BrokenPipeError when nobody reads, here and in the other functions."""
    _write(out, SOUND, first_sample, samples)


def write_failure(out: BinaryIO, reason: str, fatal: bool) -> None:
    """Write why there is no more sound; `fatal` if another attempt cannot succeed either."""
    _write(out, FAILURE, 0, json.dumps({"reason": reason, "fatal": fatal}).encode())


def _write(out: BinaryIO, kind: bytes, first_sample: int, payload: bytes) -> None:
    out.write(HEADER.pack(kind, first_sample, len(payload)))
    out.write(payload)
    out.flush()
