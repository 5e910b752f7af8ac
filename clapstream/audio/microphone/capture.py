"""Records one microphone in a process of its own and writes its sound to standard output.

A process, because PortAudio does not always close. It reads the list of devices once, when it starts, and reading
it again closes every stream of the process. When a PulseAudio server dies, its thread uses a whole core and fills
standard error, and stopping the stream never returns. A process can always be killed, starts with a new list, and
disturbs no other microphone; nor does its callback wait for the interpreter that runs the model.

Run as `python -m clapstream.audio.microphone.capture JSON`, with device (name, description or part of either,
index, null) and channel (mix, left, right, index). Writes the messages of `capture_messages`. Ends when standard
input closes, so that no microphone stays open without its daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import BinaryIO, Protocol

from clapstream.audio.microphone.capture_messages import write_failure, write_format
from clapstream.audio.microphone.devices import ServerInput, find_input
from clapstream.audio.microphone.portaudio import PortAudioRecorder
from clapstream.audio.microphone.server_recorder import ServerRecorder
from clapstream.audio.microphone.sound_queue import SoundQueue
from clapstream.audio.microphone.sound_server import SoundServer, SoundServerError
from clapstream.audio.source import SourceError

QUEUED_BLOCKS = 50
"""Blocks (5 s) kept for a daemon that does not read; what comes later is dropped, which leaves a hole."""


class Recorder(Protocol):
    """An open device that queues its sound: `PortAudioRecorder`, `ServerRecorder`."""

    rate_hz: int
    channels: int
    latency_seconds: float


def open_recorder(device: str | int | None, channel: str | int, sound: SoundQueue) -> Recorder:
    """Open a device; LookupError if it cannot be opened, SourceError if none ever can."""
    server, sources, no_server = None, [], ""
    try:
        server = SoundServer()
        sources = server.sources()
    except SoundServerError as error:
        no_server = f" (no PulseAudio or PipeWire server: {error})"
    try:
        found = find_input(device, sources)
    except LookupError as error:
        raise LookupError(f"{error}{no_server}") from error
    if not isinstance(found, ServerInput):
        if server is not None:
            server.close()
        return PortAudioRecorder(found, channel, sound)
    assert server is not None
    try:
        return ServerRecorder(server, found.source, channel, follow_default=found.follow_default, sound=sound)
    except SoundServerError as error:
        raise LookupError(f"cannot open {found.source.name}: {error}") from error


def record(device: str | int | None, channel: str | int, out: BinaryIO) -> None:
    """Write a microphone's messages until it fails."""
    fatal = False
    sound = SoundQueue(QUEUED_BLOCKS)
    try:
        recorder = open_recorder(device, channel, sound)
        write_format(out, recorder.rate_hz, recorder.channels, recorder.latency_seconds)
        reason = sound.write_to(out)
    except LookupError as error:
        reason = str(error)
    except SourceError as error:
        reason, fatal = str(error), True
    write_failure(out, reason, fatal)


def end_with_standard_input() -> None:
    """End the process as soon as the daemon that started it closes the pipe or dies."""
    with contextlib.suppress(ConnectionError):  # a daemon that dies may leave unread what was written last
        while os.read(0, 4096):
            pass
    os._exit(0)


def main() -> None:
    """Run the process; it ignores the signals that stop the daemon, which closes it when it is ready."""
    for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, signal.SIG_IGN)
    request = json.loads(sys.argv[1])
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    try:
        with contextlib.suppress(BrokenPipeError):
            record(request["device"], request["channel"], sys.stdout.buffer)
    finally:
        os._exit(0)  # not sys.exit: PortAudio's exit handler may hang on a thread of a dead server


if __name__ == "__main__":
    main()
