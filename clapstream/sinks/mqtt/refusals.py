"""Messages that the broker refuses (pure): counted, logged once for each topic, and tried again later.

Some brokers answer a message that they do not allow, or that is too large, by ending the connection. The topic of
that message is found by publishing one message at a time, and then not used for a while.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_logger = logging.getLogger(__name__)

SUSPICIOUS_LOSSES = 2
"""Connections lost in a row with a message on the same topic, after which messages are sent one at a time."""
SKIPPING_LOSSES = 3
"""After so many, the topic is not used for a while."""


@dataclass(slots=True)
class Refusal:
    """Why messages on a topic are refused, how often, and from when on they are tried again.

    `retry_at` is for new messages, `repeat_at` for repeating the retained one; both are in seconds of the clock.
    `disconnects` tells that the broker ends the connection.
    """

    reason: str
    count: int
    retry_at: float
    repeat_at: float
    disconnects: bool


class Refusals:
    """What the broker refused, by topic. `total` never decreases."""

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
        """Whether the broker may end connections for the messages on one topic, which is to be found."""
        return any(count >= SUSPICIOUS_LOSSES for count in self._losses.values())

    def refused(self, topic: str, reason: str, consequence: str = "", *, disconnects: bool = False) -> None:
        """The broker refused a message; `consequence` ends the log line."""
        self.total += 1
        known = self._by_topic.get(topic)
        at = self._clock() + (self._disconnected_seconds if disconnects else self._retry_seconds)
        count = 1 if known is None else known.count + 1
        self._by_topic[topic] = Refusal(reason, count, at, at, disconnects)
        if known is None:
            _logger.warning("broker refused a message on %s (%s)%s", topic, reason, consequence)

    def accepted(self, topic: str) -> None:
        """The broker accepted a message."""
        self._losses.pop(topic, None)
        known = self._by_topic.pop(topic, None)
        if known is not None:
            _logger.info("broker accepts messages on %s again, after %d refusals", topic, known.count)

    def connection_lost(self, unacknowledged: Iterable[str], reason: str, consequence: str) -> None:
        """The broker ended a connection before it acknowledged messages on these topics."""
        topics = set(unacknowledged)
        for topic in topics:
            self._losses[topic] += 1
        if len(topics) == 1 and self._losses[topic := topics.pop()] >= SKIPPING_LOSSES:
            del self._losses[topic]
            self.refused(topic, f"it disconnects: {reason}", consequence, disconnects=True)

    def forget(self, topic: str) -> None:
        """The topic is used differently from now on."""
        self._by_topic.pop(topic, None)

    def on_connect(self) -> None:
        """Try everything again, except what made the broker disconnect."""
        for refusal in self._by_topic.values():
            if not refusal.disconnects:
                refusal.retry_at = 0.0

    def is_waiting(self, topic: str) -> bool:
        """Whether messages on a topic were refused and are not tried again yet."""
        refusal = self._by_topic.get(topic)
        return refusal is not None and self._clock() < refusal.retry_at

    def is_skipped(self, topic: str) -> bool:
        """Whether nothing is published on a topic for now, because the broker would disconnect."""
        refusal = self._by_topic.get(topic)
        return refusal is not None and refusal.disconnects and self._clock() < refusal.retry_at

    def take_due(self) -> list[str]:
        """Topics on which the retained message is to be repeated now, each once."""
        now = self._clock()
        due = [topic for topic, refusal in self._by_topic.items() if now >= refusal.repeat_at]
        for topic in due:
            self._by_topic[topic].repeat_at = now + self._retry_seconds
        return due

    def reasons(self) -> dict[str, str]:
        """Why messages are refused now, by topic."""
        return {topic: refusal.reason for topic, refusal in self._by_topic.items()}
