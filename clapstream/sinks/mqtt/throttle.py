"""Measurements at a rate that a recorder can keep: counters and level change with every window (pure)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from clapstream.updates import SourceDiagnostics


class Throttle:
    """Lets a key's values through at most every `interval_seconds`; the newest one held back comes later."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._passed_at: dict[str, float] = {}
        self._held: dict[str, object] = {}

    def passes(self, key: str, value: object, *, at_once: bool = False) -> bool:
        """Whether a value may be published now; otherwise it is held back until `due`."""
        now = self._clock()
        if not at_once and now - self._passed_at.get(key, -self._interval_seconds) < self._interval_seconds:
            self._held[key] = value
            return False
        self._passed_at[key] = now
        self._held.pop(key, None)
        return True

    def due(self) -> Iterator[tuple[str, object]]:
        """Held values whose time has come, each once."""
        now = self._clock()
        for key in [key for key in self._held if now - self._passed_at[key] >= self._interval_seconds]:
            self._passed_at[key] = now
            yield key, self._held.pop(key)


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
