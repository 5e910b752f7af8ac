"""The daemon's end of a capture process (see `clapstream.audio.capture`)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import clapstream
from clapstream.audio.capture_messages import FAILURE, FORMAT, HEADER
from clapstream.audio.recovery import StreamBrokenError
from clapstream.audio.source import SourceError


@dataclass(frozen=True, slots=True)
class CaptureFormat:
    """What a device delivers, and how long after it was heard."""

    rate_hz: int
    channels: int
    latency_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class CapturedSound:
    """Samples `(frames, channels)` of the device; `first_frame` counts at its rate and jumps over lost ones."""

    first_frame: int
    samples: NDArray[np.float32]


class Capture(Protocol):
    """An attempt to record from a device: its format comes first, then its sound."""

    async def read_format(self) -> CaptureFormat:
        """Return the format; StreamBrokenError if the device cannot be had, SourceError if none ever can."""

    async def read_sound(self) -> CapturedSound:
        """Return the next sound; StreamBrokenError if the device is lost."""

    async def close(self) -> None:
        """Let go of the device, at once."""


class CaptureProcess:
    """A `Capture` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a running process; use `open_capture`."""
        assert process.stdout is not None
        self._process = process
        self._reader = process.stdout
        self._channels = 1

    async def read_format(self) -> CaptureFormat:
        """Return the format; StreamBrokenError if the device cannot be had, SourceError if none ever can."""
        kind, _, payload = await self._read_message()
        if kind != FORMAT:
            raise StreamBrokenError(f"the capture process began with {kind!r}")
        capture_format = CaptureFormat(**json.loads(payload))
        self._channels = capture_format.channels
        return capture_format

    async def read_sound(self) -> CapturedSound:
        """Return the next sound; StreamBrokenError if the device is lost."""
        _, first_frame, payload = await self._read_message()
        return CapturedSound(first_frame, np.frombuffer(payload, dtype=np.float32).reshape(-1, self._channels))

    async def close(self) -> None:
        """Kill the process, which closes the microphone whatever state PortAudio is in."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def _read_message(self) -> tuple[bytes, int, bytes]:
        try:
            kind, first_frame, size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
            payload = await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise StreamBrokenError("the capture process ended unexpectedly") from error
        if kind == FAILURE:
            failure = json.loads(payload)
            raise (SourceError if failure["fatal"] else StreamBrokenError)(failure["reason"])
        return kind, first_frame, payload


async def open_capture(device: str | int | None, channel: str | int) -> Capture:
    """Start a capture process.

    Its standard error is dropped: ALSA and PortAudio write pages there while they look for devices.
    """
    package_root = str(Path(clapstream.__file__).parent.parent)
    search_path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "clapstream.audio.capture",
        json.dumps({"device": device, "channel": channel}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_path},
    )
    return CaptureProcess(process)
