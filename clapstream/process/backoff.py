"""Delays between attempts to reconnect to a microphone, a stream or a broker."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0


class Backoff:
    """Exponential backoff with jitter: delays double up to a maximum.

    Half of each delay is random, so that many clients do not reconnect at the same time.
    """

    def __init__(
        self,
        first_seconds: float = FIRST_DELAY_SECONDS,
        longest_seconds: float = LONGEST_DELAY_SECONDS,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        """Set the first and the longest delay; `random_fraction` returns 0..1."""
        self._first = first_seconds
        self._longest = longest_seconds
        self._random_fraction = random_fraction
        self.reset()

    def reset(self) -> None:
        """Start again with the first delay, after a success."""
        self._ceiling = self._first

    def next_seconds(self) -> float:
        """Return the delay before the next attempt; each is longer than the last, up to the maximum."""
        delay = self._ceiling * (0.5 + 0.5 * self._random_fraction())
        self._ceiling = min(self._longest, self._ceiling * 2)
        return delay
