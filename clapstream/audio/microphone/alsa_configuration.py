"""Finds out from ALSA's configuration which devices are sources of PulseAudio or PipeWire."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_void_p

SOURCE_KEYS = {"pulse": ("PulseAudio", "device"), "pipewire": ("PipeWire", "capture_node")}
"""Types of devices that belong to a sound server: its kind, and the key that has the name of the source."""

USUAL_SERVERS = (None, "", "pipewire-0")

MOST_STEPS = 4
"""How many devices that only convert (plug, asym) are followed."""


def server_source_behind(device: str, server_kind: str) -> str | None:
    """Return which source of the server, PulseAudio or PipeWire, an ALSA device records.

    "" is the default source, None a device that is no source of it. PipeWire serves PulseAudio's clients.
    """
    try:
        alsa = ctypes.CDLL("libasound.so.2")
    except OSError:
        return None
    with _configuration(alsa) as configuration:
        for _ in range(MOST_STEPS):
            definition = c_void_p()
            if alsa.snd_config_search_definition(configuration, b"pcm", device.encode(), byref(definition)) < 0:
                return None
            try:
                kind = _string(alsa, definition, "type")
                if kind in SOURCE_KEYS:
                    return _source(alsa, definition, kind, server_kind)
                inner = {"plug": "slave.pcm", "asym": "capture.pcm"}.get(kind or "")
                device = (_string(alsa, definition, inner) or "") if inner else ""
            finally:
                alsa.snd_config_delete(definition)
    return None


def _source(alsa: ctypes.CDLL, definition: c_void_p, kind: str, server_kind: str) -> str | None:
    required_kind, key = SOURCE_KEYS[kind]
    if required_kind == "PipeWire" != server_kind or _string(alsa, definition, "server") not in USUAL_SERVERS:
        return None
    source = _string(alsa, definition, key)
    return "" if source in (None, "-1") else source


@contextmanager
def _configuration(alsa: ctypes.CDLL) -> Iterator[c_void_p]:
    """ALSA's configuration as every program reads it, /etc and ~/.asoundrc included; empty if it has errors."""
    configuration, files = c_void_p(), c_void_p()
    alsa.snd_config_update_r(byref(configuration), byref(files), None)
    try:
        yield configuration
    finally:
        if configuration:
            alsa.snd_config_delete(configuration)
        if files:
            alsa.snd_config_update_free(files)


def _string(alsa: ctypes.CDLL, definition: c_void_p, key: str) -> str | None:
    """The text under a key; None if there is none."""
    found, text = c_void_p(), c_char_p()
    if alsa.snd_config_search(definition, key.encode(), byref(found)) < 0:
        return None
    if alsa.snd_config_get_string(found, byref(text)) < 0 or text.value is None:
        return None
    return text.value.decode(errors="replace")
