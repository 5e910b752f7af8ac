"""The daemon's end of a capture process (see `clapstream.audio.microphone.capture`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import clapstream
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.microphone.capture_messages import FAILURE, FORMAT, HEADER
from clapstream.audio.source import SourceError

REAP_SECONDS = 5.0
"""How long closing waits for the killed process; if a driver blocks longer, a thread waits on."""

READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class CaptureFormat:
    """What a device delivers, and its latency."""

    rate_hz: int
    channels: int
    latency_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class CapturedSound:
    """Sound `(samples, channels)` of the device; `first_sample` counts at its rate and jumps over lost ones."""

    first_sample: int
    samples: NDArray[np.float32]


class Capture(Protocol):
    """An attempt to record from a device: its format comes first, then its sound."""

    async def read_format(self) -> CaptureFormat:
        """Return the format; StreamBrokenError if the device cannot be opened, SourceError if none ever can."""

    async def read_sound(self) -> CapturedSound:
        """Return the next sound; StreamBrokenError if the device is lost."""

    async def close(self) -> None:
        """Close the device at once."""


class CaptureProcess:
    """A `Capture` in a process of its own, at the other end of a socket."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        """Take over a running process; use `open_capture`."""
        self._process = process
        self._connection = connection
        self._received = bytearray()
        self._channels = 1

    async def read_format(self) -> CaptureFormat:
        """Return the format; StreamBrokenError if the device cannot be opened, SourceError if none ever can."""
        kind, _, payload = await self._read_message()
        if kind != FORMAT:
            raise StreamBrokenError(f"unexpected message {kind!r} from the capture process")
        capture_format = CaptureFormat(**json.loads(payload))
        self._channels = capture_format.channels
        return capture_format

    async def read_sound(self) -> CapturedSound:
        """Return the next sound; StreamBrokenError if the device is lost."""
        _, first_sample, payload = await self._read_message()
        return CapturedSound(first_sample, np.frombuffer(payload, dtype=np.float32).reshape(-1, self._channels))

    async def close(self) -> None:
        """Kill the process, which closes the microphone in any state of PortAudio, and reap it.

        Nothing else may reap it: asyncio's watcher and `Popen` would both do so, and the later one warns. A thread
        does it, so that it happens even if the caller is cancelled or the kernel is slow to close the device.
        """
        self._process.kill()
        self._connection.close()
        loop = asyncio.get_running_loop()
        reaped = asyncio.Event()

        def reap() -> None:
            self._process.wait()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(reaped.set)

        threading.Thread(target=reap, name="capture reaper", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REAP_SECONDS):
                await reaped.wait()

    async def _read_message(self) -> tuple[bytes, int, bytes]:
        kind, first_sample, size = HEADER.unpack(await self._read_exactly(HEADER.size))
        payload = await self._read_exactly(size)
        if kind == FAILURE:
            failure = json.loads(payload)
            raise (SourceError if failure["fatal"] else StreamBrokenError)(failure["reason"])
        return kind, first_sample, payload

    async def _read_exactly(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._received) < size:
            try:
                data = await loop.sock_recv(self._connection, READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                raise StreamBrokenError("the capture process ended unexpectedly")
            self._received += data
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken


async def open_capture(device: str | int | None, channel: str | int) -> Capture:
    """Start a capture process; StreamBrokenError if the system refuses."""
    try:
        return _start(json.dumps({"device": device, "channel": channel}))
    except OSError as error:
        raise StreamBrokenError(f"cannot start the capture process: {error.strerror}") from error


def _start(request: str) -> CaptureProcess:
    """Start the process; its standard error is dropped, since ALSA and PortAudio write pages there."""
    package_root = str(Path(clapstream.__file__).parent.parent)
    search_path = os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH"))))
    ours, its = socket.socketpair()
    with its, contextlib.ExitStack() as on_failure:
        on_failure.callback(ours.close)
        ours.setblocking(False)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "clapstream.audio.microphone.capture", request],
            stdin=its.fileno(),
            stdout=its.fileno(),
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search_path},
        )
        on_failure.pop_all()
    return CaptureProcess(process, ours)
