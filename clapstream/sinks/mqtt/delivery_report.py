"""Reports changes of what waits, is refused or was lost: to a callback, and to a file for `clapstream check`."""

from __future__ import annotations

import time
from collections.abc import Callable

from clapstream.sinks.mqtt.delivery import Delivery

WRITE_SECONDS = 30.0
"""Between two writes of the file where only numbers changed: a memory card wears out."""


class DeliveryFile:
    """Writes by `write`: at once for the first loss of a kind, else at intervals; `clock` gives seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._written: str | None = None
        self._kinds: tuple[object, ...] | None = None
        self._written_at = 0.0

    def update(self, delivery: Delivery, *, at_once: bool = False) -> None:
        """Write what changed; an empty text if nothing is refused or lost."""
        at_once = at_once or delivery.kinds != self._kinds
        if not at_once and self._clock() - self._written_at < WRITE_SECONDS:
            return
        text = delivery.record()
        if text != self._written:
            self._written, self._kinds, self._written_at = text, delivery.kinds, self._clock()
            self._write(text)


class DeliveryReport:
    """Calls `on_change` for every change, and keeps the file up to date by `write`.

    Until the broker was connected (`was_online`) and nothing is lost, the file keeps what an earlier process wrote.
    """

    def __init__(self, write: Callable[[str], None], on_change: Callable[[Delivery], None] | None) -> None:
        self._file = DeliveryFile(write)
        self._on_change = on_change
        self._delivery = Delivery()
        self.was_online = False

    def update(self, delivery: Delivery) -> None:
        """Report a change, also while the broker is away: a full spool drops detections then."""
        if self.was_online or delivery.record():
            self._file.update(delivery)
        if delivery != self._delivery:
            self._delivery = delivery
            if self._on_change is not None:
                self._on_change(delivery)

    def write_last(self, delivery: Delivery) -> None:
        """Write the file at the end, even if it was written recently."""
        if self.was_online:
            self._file.update(delivery, at_once=True)
