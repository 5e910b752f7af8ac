"""Commands to the daemon from outside.

A new command is a class here, a row in the table of MQTT topics (`sinks/mqtt/commands.py`), and a case in the
handler (`Daemon.handle`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SetListening:
    """Open or close a source, named by its slug."""

    source: str
    listening: bool


Command = SetListening
"""Any of the commands."""

Handle = Callable[[Command], None]
"""Takes a command; never blocks and never raises. One that names an unknown source is ignored."""
