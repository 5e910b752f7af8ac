"""Publications that the broker does not take (pure): counted, told once for each topic, and tried again later.

Some brokers answer a publication that they do not allow, or that is too large, by ending the connection. A topic
that was under way each time is found by publishing one message at a time, and then left out for a while.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_logger = logging.getLogger(__name__)

SUSPICIOUS_LOSSES = 2
"""Connections lost in a row with one topic under way, after which messages are sent one at a time."""
CONVICTING_LOSSES = 3


@dataclass(slots=True)
class Refusal:
    """Why a topic was refused, how often, when it may be used again and when what lasts is repeated on it.

    Both times are in seconds of the clock.
    """

    reason: str
    count: int
    retry_at: float
    repeat_at: float
    disconnects: bool


class Refusals:
    """What the broker refused, by topic. `total` never goes down."""

    def __init__(
        self, retry_seconds: float, disconnected_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._retry_seconds = retry_seconds
        self._disconnected_seconds = disconnected_seconds
        self._clock = clock
        self._by_topic: dict[str, Refusal] = {}
        self._losses: Counter[str] = Counter()
        self.total = 0

    @property
    def one_at_a_time(self) -> bool:
        """Whether a topic may be what the broker ends connections for."""
        return any(count >= SUSPICIOUS_LOSSES for count in self._losses.values())

    def refused(self, topic: str, reason: str, consequence: str = "", *, disconnects: bool = False) -> None:
        """The broker did not take a message; `consequence` says what happens to it."""
        self.total += 1
        known = self._by_topic.get(topic)
        at = self._clock() + (self._disconnected_seconds if disconnects else self._retry_seconds)
        count = 1 if known is None else known.count + 1
        self._by_topic[topic] = Refusal(reason, count, at, at, disconnects)
        if known is None:
            _logger.warning("broker refused a message on %s (%s)%s", topic, reason, consequence)

    def accepted(self, topic: str) -> None:
        """The broker took a message."""
        self._losses.pop(topic, None)
        known = self._by_topic.pop(topic, None)
        if known is not None:
            _logger.info("broker accepts messages on %s again, after %d refusals", topic, known.count)

    def connection_lost(self, under_way: Iterable[str], reason: str, consequence: str) -> None:
        """The broker ended a connection before it acknowledged what was under way."""
        topics = set(under_way)
        for topic in topics:
            self._losses[topic] += 1
        if len(topics) == 1 and self._losses[topic := topics.pop()] >= CONVICTING_LOSSES:
            del self._losses[topic]
            said = f"it disconnects: {reason}"
            self.refused(topic, said, consequence, disconnects=True)

    def forget(self, topic: str) -> None:
        """What was refused is published in another form from now on."""
        self._by_topic.pop(topic, None)

    def connected(self) -> None:
        """A new connection may refuse other things; what ended the earlier ones stays left out."""
        for refusal in self._by_topic.values():
            if not refusal.disconnects:
                refusal.retry_at = 0.0

    def is_waiting(self, topic: str) -> bool:
        """Whether a topic was refused and is not to be tried yet."""
        refusal = self._by_topic.get(topic)
        return refusal is not None and self._clock() < refusal.retry_at

    def is_left_out(self, topic: str) -> bool:
        """Whether nothing may be published on a topic for now, because the broker would disconnect."""
        refusal = self._by_topic.get(topic)
        return refusal is not None and refusal.disconnects and self._clock() < refusal.retry_at

    def take_due(self) -> list[str]:
        """Topics on which what lasts is to be repeated now, each once."""
        now = self._clock()
        due = [topic for topic, refusal in self._by_topic.items() if now >= refusal.repeat_at]
        for topic in due:
            self._by_topic[topic].repeat_at = now + self._retry_seconds
        return due

    def reasons(self) -> dict[str, str]:
        """The topics that are refused now, with the reason."""
        return {topic: refusal.reason for topic, refusal in self._by_topic.items()}
