"""How fast live sound is read: a burst at first, then hardly faster than it plays."""

from __future__ import annotations

import time

from clapstream.audio.block import RATE_HZ

BURST_SECONDS = 0.5
"""How long the burst at the start may last: what the sender had buffered, and what came while it was analysed."""

AHEAD_SECONDS = 30.0
"""How far to read ahead of real time: senders start with a burst, but a whole file may come at once."""

FASTEST = 1.05
"""How fast to read after the burst: a sender whose clock is ahead of ours must never be held back."""


class Pace:
    """How long a reader waits before it reads on."""

    def __init__(self, ahead_seconds: float = AHEAD_SECONDS, fastest: float = FASTEST) -> None:
        """Start now; after `ahead_seconds` of sound, `fastest` seconds of it may be read each second."""
        self._ahead_seconds = ahead_seconds
        self._fastest = fastest
        self._started = time.monotonic()

    def wait_seconds(self, end_sample: int) -> float:
        """Return how long to wait after the sample before `end_sample` (at `RATE_HZ`) was read."""
        elapsed_seconds = time.monotonic() - self._started
        return max(0.0, end_sample / RATE_HZ - self._fastest * elapsed_seconds - self._ahead_seconds)
