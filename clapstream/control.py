"""What comes in from outside: commands to the daemon, from MQTT today, and whatever else may give them later.

A new command is one more class here, one more row in the table that reads it from a topic
(`sinks/mqtt/commands.py`), and one more case in the handler (`Daemon.handle`).
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
