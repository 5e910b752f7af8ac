"""What sources of sound share: their protocol, their error, and the size of a block."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from clapstream.audio.block import SourceItem

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


class Source(Protocol):
    """Where sound comes from: `Microphone`, `Stream`, `Recording`, `Pcm`, `LivePcm`.

    The counters run since the daemon started.
    """

    @property
    def name(self) -> str:
        """The user's name for it."""

    @property
    def dropped_blocks(self) -> int:
        """Blocks lost because nobody took them in time; each loss is a jump of `first_sample`."""

    @property
    def reconnects(self) -> int:
        """How often the stream opened again after it was lost."""

    @property
    def silent(self) -> bool:
        """Whether there was nothing but digital silence for a minute: muted, in all likelihood."""

    def items(self) -> AsyncGenerator[SourceItem, None]:
        """Blocks, and when the stream opened or was lost; ends only for finite sources.

        Raises SourceError for what will not work later either. `aclose` closes the device, file or connection.
        """
