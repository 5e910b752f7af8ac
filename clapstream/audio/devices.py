"""The microphones of this machine, as PortAudio sees them. Imports sounddevice only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clapstream.audio.source import SourceError


@dataclass(frozen=True, slots=True)
class Device:
    """One input: `index` is PortAudio's and may change when devices come and go, `rate_hz` its default."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    default: bool


def load_portaudio() -> Any:
    """Import and return the sounddevice module; SourceError where PortAudio is missing.

    The import asks every driver for its devices, once: a process never learns of devices that come later.
    """
    try:
        import sounddevice
    except OSError as error:
        raise SourceError(
            f"microphones need the PortAudio library: {error}; on Debian and Ubuntu: apt install libportaudio2"
        ) from error
    return sounddevice


def devices() -> list[Device]:
    """List the inputs; SourceError where PortAudio is missing."""
    portaudio = load_portaudio()
    host_apis = portaudio.query_hostapis()
    default_index = host_apis[portaudio.default.hostapi]["default_input_device"] if host_apis else None
    return [
        Device(
            index=index,
            name=entry["name"],
            host_api=host_apis[entry["hostapi"]]["name"],
            channels=entry["max_input_channels"],
            rate_hz=round(entry["default_samplerate"]),
            default=index == default_index,
        )
        for index, entry in enumerate(portaudio.query_devices())
        if entry["max_input_channels"] > 0
    ]


def find_device(present: Sequence[Device], wanted: str | int | None) -> Device:
    """Return the input with that index or name (else the first with it in its name, in any case), or the default.

    LookupError lists what there is.
    """
    if wanted is None:
        matches = [device for device in present if device.default] or list(present[:1])
        what = "no microphone found"
    elif isinstance(wanted, int):
        matches = [device for device in present if device.index == wanted]
        what = f"no microphone has index {wanted}"
    else:
        part = wanted.strip().casefold()
        matches = [device for device in present if device.name.casefold() == part]
        matches += [device for device in present if part in device.name.casefold()]
        what = f"no microphone has {wanted!r} in its name"
    if not matches:
        listing = ", ".join(f"{device.index}: {device.name}" for device in present) or "none"
        raise LookupError(f"{what}; there is: {listing}")
    return matches[0]
