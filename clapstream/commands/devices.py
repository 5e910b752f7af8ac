"""`clapstream devices`: list the microphones, with the names that the setting `device` accepts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace

from clapstream.audio.microphone.devices import ServerInput, find_input
from clapstream.audio.microphone.portaudio import Device, devices
from clapstream.audio.microphone.sound_server import ServerSource, SoundServer, SoundServerError
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import print_error
from clapstream.process.exit_codes import FAILURE, OK

LISTING_SECONDS = 10.0
"""Time limit for PortAudio's list: through ALSA it would wait forever for a sound server that hangs."""


def run(options: argparse.Namespace) -> int:
    """Print one line per microphone; a star marks the one that is used if no device is configured."""
    sources, server_problem = _server_sources()
    try:
        found = _portaudio_devices()
    except SourceError as error:
        print_error(error)
        if not sources:
            return FAILURE
        found = []
    if not found and not sources:
        print_error(
            f"no microphone found: PortAudio sees none, and no PulseAudio or PipeWire server: {server_problem}"
        )
    (_print_json if options.json else _print_table)(*_mark_default(sources, found))
    return OK


def _mark_default(
    sources: Sequence[ServerSource], found: Sequence[Device]
) -> tuple[list[ServerSource], list[Device]]:
    """The same, with at most one default: PortAudio and the sound server each mark their own."""
    try:
        default = find_input(None, sources, lambda: list(found))
    except LookupError:
        return list(sources), list(found)
    source = default.source if isinstance(default, ServerInput) else None
    return (
        [replace(each, default=each == source) for each in sources],
        [replace(each, default=each == default) for each in found],
    )


def _portaudio_devices() -> list[Device]:
    """The devices that PortAudio lists; raises SourceError if it is missing or does not answer."""
    answer: Future[list[Device]] = Future()
    stderr = None if sys.stderr is None else os.dup(2)

    def ask() -> None:
        try:
            answer.set_result(devices())
        except BaseException as error:  # raised again by `result`
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()  # a daemon thread, so that the command can end if it hangs
    try:
        return answer.result(LISTING_SECONDS)
    except TimeoutError:
        if stderr is not None:  # sounddevice redirects it to /dev/null while PortAudio lists its devices
            os.dup2(stderr, 2)
        raise SourceError(
            f"PortAudio did not list its devices within {LISTING_SECONDS:g} s: PulseAudio or PipeWire may hang; "
            "restart it, then try again"
        ) from None


def _server_sources() -> tuple[list[ServerSource], str]:
    """The sources of the sound server, and why there are none if so."""
    try:
        server = SoundServer()
        try:
            return server.sources(), "it has no source"
        finally:
            server.close()
    except SoundServerError as error:
        return [], str(error)


def _print_table(sources: Sequence[ServerSource], found: Sequence[Device]) -> None:
    for source in sources:
        details = [source.server, _counted(source.channels), f"{source.rate_hz} Hz"]
        if source.monitor:
            details.append("monitor: records what is played")
        print(f"{_mark(source.default)}      {source.name}  {source.description}  ({', '.join(details)})")
    for device in found:
        details = [device.host_api, _counted(device.channels), f"{device.rate_hz} Hz"]
        print(f"{_mark(device.default)} {device.index:3d}  {device.name}  ({', '.join(details)})")


def _print_json(sources: Sequence[ServerSource], found: Sequence[Device]) -> None:
    """One object per line; `index` is null for sources of the sound server, which have only names."""
    for source in sources:
        fields = asdict(source)
        del fields["channel_positions"]
        print(json.dumps({"index": None, "system": fields.pop("server"), **fields}))
    for device in found:
        fields = asdict(device)
        system = fields.pop("host_api")
        print(json.dumps({"system": system, "description": device.name, "monitor": False, **fields}))


def _counted(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"


def _mark(default: bool) -> str:
    return "*" if default else " "
