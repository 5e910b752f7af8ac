"""How long to wait between attempts to reach what is away: a microphone, a stream, a broker."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0


class Backoff:
    """Delays between attempts: doubling up to a cap, half of each random, so that many do not retry in step."""

    def __init__(
        self,
        first_seconds: float = FIRST_DELAY_SECONDS,
        longest_seconds: float = LONGEST_DELAY_SECONDS,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        """Take the first and the longest delay; `random_fraction` gives 0..1."""
        self._first = first_seconds
        self._longest = longest_seconds
        self._random_fraction = random_fraction
        self.reset()

    def reset(self) -> None:
        """Start over after a recovery."""
        self._ceiling = self._first

    def next_seconds(self) -> float:
        """Return how long to wait now; the next wait is longer."""
        delay = self._ceiling * (0.5 + 0.5 * self._random_fraction())
        self._ceiling = min(self._longest, self._ceiling * 2)
        return delay
