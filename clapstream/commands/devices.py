"""`clapstream devices`: list the microphones."""

from __future__ import annotations

import argparse

from clapstream.audio.portaudio import devices
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, OK, complain


def run(options: argparse.Namespace) -> int:
    """One line a microphone; a star marks the default."""
    try:
        found = devices()
    except SourceError as error:
        complain(error)
        return FAILURE
    if not found:
        complain("PortAudio sees no microphone")
    for device in found:
        mark = "*" if device.default else " "
        details = f"{device.host_api}, {device.channels} channels, {device.rate_hz} Hz"
        print(f"{mark} {device.index:3d}  {device.name}  ({details})")
    return OK
