"""Counters and levels change with every window: they are published at a rate that a recorder can keep (pure)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from clapstream.updates import SourceDiagnostics, SourceInfo, WindowHeard

T = TypeVar("T")


class Throttle(Generic[T]):
    """Lets a source's values pass at most every `interval_seconds`; the newest one held back comes later."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float]) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._passed_at: dict[SourceInfo, float] = {}
        self._held: dict[SourceInfo, T] = {}
        self._newest: dict[SourceInfo, T] = {}

    def passes(self, source: SourceInfo, value: T, *, at_once: bool = False) -> bool:
        """Whether a value may be published now; otherwise it is held back until `due`."""
        now = self._clock()
        self._newest[source] = value
        if not at_once and now - self._passed_at.get(source, -self._interval_seconds) < self._interval_seconds:
            self._held[source] = value
            return False
        self._passed_at[source] = now
        self._held.pop(source, None)
        return True

    def due(self) -> Iterator[T]:
        """Held values whose time has come, each once."""
        now = self._clock()
        for source in list(self._held):
            if now - self._passed_at.get(source, -self._interval_seconds) >= self._interval_seconds:
                self._passed_at[source] = now
                yield self._held.pop(source)

    def start_again(self) -> None:
        """Let the newest value of each source pass at once: whoever got the earlier ones is gone."""
        self._passed_at.clear()
        self._held = dict(self._newest)


class Measurements:
    """Decides which counters and which levels are published; `clock` gives seconds."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._levels: Throttle[WindowHeard] = Throttle(interval_seconds, clock)
        self._counters: Throttle[SourceDiagnostics] = Throttle(interval_seconds, clock)
        self._published: dict[SourceInfo, SourceDiagnostics] = {}

    def on_connect(self) -> None:
        """Publish the newest of all on a new connection: nobody received what passed before it."""
        self._levels.start_again()
        self._counters.start_again()

    def level_passes(self, window: WindowHeard) -> bool:
        """Whether the level of a window may be published now."""
        return self._levels.passes(window.source, window)

    def counters_pass(self, update: SourceDiagnostics) -> bool:
        """Whether counters may be published now: always if something is lost or silent for the first time."""
        at_once = _is_urgent(self._published.get(update.source), update)
        if not self._counters.passes(update.source, update, at_once=at_once):
            return False
        self._published[update.source] = update
        return True

    def due_levels(self) -> Iterator[WindowHeard]:
        """Windows whose level was held back until now."""
        return self._levels.due()

    def due_counters(self) -> Iterator[SourceDiagnostics]:
        """Counters that were held back until now."""
        for update in self._counters.due():
            self._published[update.source] = update
            yield update


def _is_urgent(before: SourceDiagnostics | None, after: SourceDiagnostics) -> bool:
    """Whether a change is published at once: sound that is lost for the first time, a reconnect, silence."""
    if before is None:
        return True
    return (
        before.silent != after.silent
        or before.reconnects != after.reconnects
        or (before.dropped_blocks == 0) != (after.dropped_blocks == 0)
        or (before.skipped_windows == 0) != (after.skipped_windows == 0)
    )
