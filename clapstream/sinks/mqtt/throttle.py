"""Measurements at a rate that a recorder can keep: counters and level change with every window (pure)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from clapstream.updates import SourceDiagnostics, SourceInfo


class Throttle:
    """Lets a source's values through at most every `interval_seconds`; the newest one held back comes later."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._passed_at: dict[SourceInfo, float] = {}
        self._held: dict[SourceInfo, object] = {}

    def passes(self, source: SourceInfo, value: object, *, at_once: bool = False) -> bool:
        """Whether a value may be published now; otherwise it is held back until `due`."""
        now = self._clock()
        if not at_once and now - self._passed_at.get(source, -self._interval_seconds) < self._interval_seconds:
            self._held[source] = value
            return False
        self._passed_at[source] = now
        self._held.pop(source, None)
        return True

    def due(self) -> Iterator[tuple[SourceInfo, object]]:
        """Held values whose time has come, each once."""
        now = self._clock()
        for source in [source for source in self._held if now - self._passed_at[source] >= self._interval_seconds]:
            self._passed_at[source] = now
            yield source, self._held.pop(source)


def matters(before: SourceDiagnostics | None, after: SourceDiagnostics) -> bool:
    """Whether a change should be known at once: sound that is lost for the first time, a reconnect, silence."""
    if before is None:
        return True
    return (
        before.silent != after.silent
        or before.reconnects != after.reconnects
        or (before.dropped_blocks == 0) != (after.dropped_blocks == 0)
        or (before.skipped_windows == 0) != (after.skipped_windows == 0)
    )
