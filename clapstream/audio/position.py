"""Where a window lies in its stream: what lets work on overlapping windows be shared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class StreamPosition:
    """A window's place: `stream` is any object that lives as long as its stream, one for each.

    Two windows with the same `stream` hold the same sound in the samples that both have.
    """

    stream: object
    first_sample: int
