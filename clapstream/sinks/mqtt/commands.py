"""Commands that arrive over MQTT: which topic of a source carries which command, and how its payload is read.

A new command is one more row of `READERS`; its class is in `control`, and the daemon handles it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clapstream.control import Command, SetListening
from clapstream.sinks.mqtt.payloads import OFF, ON

Reader = Callable[[str, bytes], Command | None]
"""Reads a command from a source's slug and a payload that may be anything; None if the payload is invalid."""


def read_listening(source: str, payload: bytes) -> Command | None:
    """`ON` or `OFF`, in any case, with or without white space around it."""
    text = payload.strip().upper()
    if text not in (ON.encode(), OFF.encode()):
        return None
    return SetListening(source, text == ON.encode())


LISTENING = "listening/set"

READERS: Mapping[str, Reader] = {LISTENING: read_listening}
"""By the part of the topic that follows the source: `BASE/NODE/SOURCE/listening/set`."""
