"""Finds the input that a configured `device` names: a source of the sound server, or a device of PortAudio."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clapstream.audio.microphone.alsa_configuration import server_source_behind
from clapstream.audio.microphone.portaudio import Device, devices
from clapstream.audio.microphone.sound_server import ServerSource
from clapstream.audio.source import SourceError


@dataclass(frozen=True, slots=True)
class ServerInput:
    """A source to be recorded from the sound server; `follow_default`: only as long as it is the default."""

    source: ServerSource
    follow_default: bool = False


def find_input(
    wanted: str | int | None, sources: Sequence[ServerSource], list_devices: Callable[[], list[Device]] = devices
) -> ServerInput | Device:
    """Return the wanted input; a name is looked up among the names and descriptions of the server's sources first.

    LookupError if there is none, with what is available, or if several match equally well. SourceError if there is
    neither a server nor PortAudio.
    """
    if isinstance(wanted, str) and (source := _named_exactly(sources, wanted)):
        return ServerInput(source)
    try:
        present = list_devices()
    except SourceError:
        if not sources:
            raise
        present = []
    if isinstance(wanted, str):
        return _find_by_name(wanted, sources, present)
    if wanted is None and not present and (default := _default_source(sources)):
        return default
    return _behind(find_device(present, wanted), sources)


def find_device(present: Sequence[Device], wanted: str | int | None) -> Device:
    """Return the input with that index or name (else the first with it in its name, in any case), or the default.

    LookupError if there is none, with what is available.
    """
    if wanted is None:
        matches = [device for device in present if device.default] or list(present[:1])
    elif isinstance(wanted, int):
        matches = [device for device in present if device.index == wanted]
    else:
        part = _folded(wanted)
        matches = [device for device in present if _folded(device.name) == part]
        matches += [device for device in present if part in _folded(device.name)]
    if not matches:
        raise _not_found(wanted, (), present)
    return matches[0]


def _find_by_name(wanted: str, sources: Sequence[ServerSource], present: Sequence[Device]) -> ServerInput | Device:
    part = _folded(wanted)
    for device in present:
        if _folded(device.name) == part:
            return _behind(device, sources)
    microphones = [source for source in sources if not source.monitor and _has_part(source, part)]
    if microphones:
        return ServerInput(_only(microphones, wanted))
    for device in present:
        if part in _folded(device.name):
            return _behind(device, sources)
    monitors = [source for source in sources if source.monitor and _has_part(source, part)]
    if monitors:
        return ServerInput(_only(monitors, wanted))
    raise _not_found(wanted, sources, present)


def _named_exactly(sources: Sequence[ServerSource], wanted: str) -> ServerSource | None:
    name = _folded(wanted)
    matches = [source for source in sources if _folded(source.name) == name]
    matches = matches or [source for source in sources if _folded(source.description) == name]
    return _only(matches, wanted) if matches else None


def _has_part(source: ServerSource, part: str) -> bool:
    return part in _folded(source.name) or part in _folded(source.description)


def _only(matches: Sequence[ServerSource], wanted: str) -> ServerSource:
    if len(matches) > 1:
        names = ", ".join(f"{source.name} ({source.description})" for source in matches)
        raise LookupError(f"{len(matches)} microphones match {wanted!r}: {names}; set device to the name of one")
    return matches[0]


def _behind(device: Device, sources: Sequence[ServerSource]) -> ServerInput | Device:
    """Return the source of the server that an ALSA device stands for, else the device.

    Through ALSA's plugin the server would mix the source's channels into the number that is asked for.
    """
    if not sources or device.host_api != "ALSA":
        return device
    name = server_source_behind(device.name, sources[0].server)
    if name is None:
        return device
    if not name:
        return _default_source(sources) or device
    return next((ServerInput(source) for source in sources if source.name == name), device)


def _default_source(sources: Sequence[ServerSource]) -> ServerInput | None:
    """Return what a client that names no source records: $PULSE_SOURCE, else the server's default."""
    if name := os.environ.get("PULSE_SOURCE"):
        return next((ServerInput(source) for source in sources if source.name == name), None)
    return next((ServerInput(source, follow_default=True) for source in sources if source.default), None)


def _folded(text: str) -> str:
    """Text for comparing: without case, and with accents written one way."""
    return unicodedata.normalize("NFC", text.strip().casefold())


def _not_found(wanted: str | int | None, sources: Sequence[ServerSource], present: Sequence[Device]) -> LookupError:
    """Return the error for a device that is not there, with what is available."""
    available = [f"{source.name} ({source.description})" for source in sources]
    available += [f"{device.index}: {device.name}" for device in present]
    if not available:
        return LookupError("no microphone found")
    return LookupError(f"device {wanted!r} not found; available: {', '.join(available)}")
