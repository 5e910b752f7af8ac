"""What every source of sound is to the code that listens to it."""

from __future__ import annotations

BLOCK_SECONDS = 0.1
"""How much sound a source delivers at a time."""


class LosslessSource:
    """A source that reads no faster than its blocks are taken, so that it never loses sound: a file or a pipe."""

    dropped_blocks = 0
    reconnects = 0
    silent = False

    def __init__(self, name: str) -> None:
        """Take the user's name for the source."""
        self.name = name


class SourceError(Exception):
    """A source that can never work; the message tells the user which one, what is wrong and what to do.

    It takes this source offline and leaves the others alone. What may recover by itself (a device, a network) is a
    `StreamBrokenError` instead, which is retried.
    """
