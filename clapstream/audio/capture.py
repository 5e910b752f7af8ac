"""Records one microphone in a process of its own and writes its sound to standard output.

A process, because PortAudio cannot be relied on to let go. Its list of devices is frozen when it starts, and taking
a new one kills every stream of the process. When a PulseAudio server dies, its thread spins at full speed, fills
standard error, and stopping the stream never returns. A process can always be killed, starts with a fresh list,
and disturbs no other microphone; the callback does not wait for the interpreter that runs the model either.

Messages: a header (`HEADER`: kind, index of the first frame, payload bytes) and a payload. A format (JSON) comes
first, then sound: interleaved float32 in native byte order. A failure (JSON) is the last one.

Run as `python -m clapstream.audio.capture JSON`, with device (part of a name, index, null) and channel (mix, left,
right, index). Ends when standard input closes, so that no microphone stays open without its daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import struct
import sys
import threading
from typing import Any, BinaryIO

from clapstream.audio.devices import Device, devices, find_device, load_portaudio
from clapstream.audio.source import BLOCK_SECONDS, SourceError

HEADER = struct.Struct("=cqI")
FORMAT, SOUND, FAILURE = b"F", b"S", b"X"

QUEUED_BLOCKS = 50
"""Blocks (5 s) kept for a daemon that does not read; what comes later is dropped, seen as a jump of frames."""

PREFERRED_RATE_HZ = 48_000


def write_message(out: BinaryIO, kind: bytes, first_frame: int, payload: bytes) -> None:
    """Write one message; BrokenPipeError when nobody reads any more."""
    out.write(HEADER.pack(kind, first_frame, len(payload)))
    out.write(payload)
    out.flush()


def channels_needed(device: Device, channel: str | int) -> int:
    """Return how many channels to record; LookupError if the device has no such channel."""
    if channel == "mix":
        return min(2, device.channels)
    index = channel_index(channel)
    if index >= device.channels:
        raise LookupError(f"{device.name} has {device.channels} channel(s): there is no channel {channel}")
    return index + 1


def channel_index(channel: str | int) -> int:
    """Return the index of a channel: left is 0, right is 1."""
    return {"left": 0, "right": 1}.get(channel, -1) if isinstance(channel, str) else channel


class Recorder:
    """An open microphone: the callback of PortAudio's thread copies, the main thread writes."""

    def __init__(self, portaudio: Any, device: Device, channels: int) -> None:
        """Start recording; PortAudioError if the device does not let us."""
        self._queue: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._next_frame = 0
        self._stream = self._open(portaudio, device, channels)
        self._stream.start()

    def write_to(self, out: BinaryIO) -> None:
        """Write the format, then sound until PortAudio gives up the stream."""
        stream = self._stream
        latency = stream.latency
        shape = {"rate_hz": round(stream.samplerate), "channels": stream.channels, "latency_seconds": latency}
        write_message(out, FORMAT, 0, json.dumps(shape).encode())
        while (block := self._queue.get()) is not None:
            write_message(out, SOUND, *block)

    def _open(self, portaudio: Any, device: Device, channels: int) -> Any:
        """Open the device at 48 kHz if it can, else at its own rate, with as few channels as it lets us.

        48 kHz comes first because ALSA's and PulseAudio's own devices take any rate and would resample to
        PortAudio's default of 44.1 kHz, badly; nearly all hardware runs at 48 kHz.
        """
        attempts = [
            (rate_hz, count)
            for rate_hz in dict.fromkeys((PREFERRED_RATE_HZ, device.rate_hz))
            for count in dict.fromkeys((channels, device.channels))
        ]
        failure = None
        for rate_hz, count in attempts:
            try:
                return portaudio.RawInputStream(
                    device=device.index,
                    samplerate=rate_hz,
                    channels=count,
                    dtype="float32",
                    blocksize=round(rate_hz * BLOCK_SECONDS),
                    latency="high",
                    callback=self._copy,
                    finished_callback=lambda: self._queue.put(None),
                )
            except portaudio.PortAudioError as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _copy(self, sound: Any, frames: int, _time: Any, status: Any) -> None:
        """Take one block over from PortAudio's thread."""
        if status.input_overflow:
            self._next_frame += frames  # an unknown number was lost: leave a hole, so that nothing is spliced
        if self._queue.qsize() < QUEUED_BLOCKS:
            self._queue.put((self._next_frame, bytes(sound)))
        self._next_frame += frames


def end_with_standard_input() -> None:
    """End the process as soon as the daemon that started it closes the pipe or dies."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def record(device: str | int | None, channel: str | int, out: BinaryIO) -> None:
    """Write a microphone's messages until it fails."""
    fatal = False
    try:
        portaudio = load_portaudio()
        found = find_device(devices(), device)
        try:
            Recorder(portaudio, found, channels_needed(found, channel)).write_to(out)
            reason = "the device stopped delivering sound"
        except portaudio.PortAudioError as error:
            reason = f"{found.name} cannot be opened: {error}"
    except LookupError as error:
        reason = str(error)
    except SourceError as error:
        reason, fatal = str(error), True
    write_message(out, FAILURE, 0, json.dumps({"reason": reason, "fatal": fatal}).encode())


def main() -> None:
    """Run the process; signals that stop the daemon leave it alone, since the daemon closes it in its own time."""
    for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, signal.SIG_IGN)
    request = json.loads(sys.argv[1])
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            record(request["device"], request["channel"], sys.stdout.buffer)
    finally:
        os._exit(0)  # not sys.exit: PortAudio's exit handler may wait for ever for a thread of a dead server


if __name__ == "__main__":
    main()
