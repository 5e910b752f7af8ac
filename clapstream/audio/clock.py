"""When a sample was heard. A sound card's clock drifts (50 ppm are 26 minutes a year) and wall clocks jump.

Everything is in whole microseconds, so that a stream can run for years without losing precision.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from clapstream.audio.block import RATE_HZ

PERIOD_SAMPLES = 60 * RATE_HZ
"""The clock is corrected once a minute of sound: long enough that one block of it arrives without delay."""

STEP_MICROSECONDS = 2_000_000
"""A lag beyond this is not drift but sound that was never delivered: the clock jumps ahead."""

HISTORY = 64
"""How many corrections are kept, for the times of older samples: an hour of them."""

MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Anchor:
    """From `sample` on, time passes `slew_ppm` faster than nominal, starting at `microseconds` after the start."""

    sample: int
    microseconds: int
    slew_ppm: int

    def microseconds_at(self, sample: int) -> int:
        """Return microseconds after the start of the stream."""
        return self.microseconds + (sample - self.sample) * (1_000_000 + self.slew_ppm) // RATE_HZ


class StreamClock:
    """Maps the samples of one stream to UTC: its start plus samples / rate, kept true by when blocks arrive.

    A block can only arrive late, so the least lateness of a minute shows the drift, which is corrected by letting
    time pass slightly faster or slower. A lag of seconds (sound that never came) is corrected at once. Sound that
    is seconds early comes from a file that is read fast, which is not drift: nothing is corrected. Within a stream
    time never goes backwards: the time of a sample up to an hour old never changes, and a later sample is never
    earlier. Only when the wall clock is set, or the machine slept, all times move with it.
    """

    def __init__(self, started: datetime, wall_clock: WallClockWatch | None = None) -> None:
        """Take when sample 0 was heard, an aware datetime."""
        self._started = started
        self._wall_clock = wall_clock or WallClockWatch()
        self._anchors: deque[_Anchor] = deque([_Anchor(0, 0, 0)], maxlen=HISTORY)
        self._least_lag: int | None = None  # behind samples / rate, in microseconds
        self._usual_lateness: int | None = None

    def utc(self, sample: int) -> datetime:
        """Return when a sample was heard; the times of samples that have not arrived yet may change."""
        return self._started + timedelta(microseconds=self._microseconds_at(sample))

    def arrived(self, end_sample: int, now: datetime) -> None:
        """Note that the block that ends before `end_sample` arrived at `now`."""
        self._started += timedelta(seconds=self._wall_clock.jump_seconds())
        nominal = end_sample * 1_000_000 // RATE_HZ
        lag = (now - self._started) // MICROSECOND - nominal
        self._least_lag = lag if self._least_lag is None else min(lag, self._least_lag)
        if end_sample - self._anchors[-1].sample >= PERIOD_SAMPLES:
            self._correct(end_sample, self._least_lag + nominal - self._microseconds_at(end_sample))
            self._least_lag = None

    def _microseconds_at(self, sample: int) -> int:
        for anchor in reversed(self._anchors):
            if anchor.sample <= sample:
                return anchor.microseconds_at(sample)
        return self._anchors[0].microseconds_at(sample)

    def _correct(self, sample: int, lateness: int) -> None:
        """Start a new stretch at `sample` that corrects the lateness beyond the usual one within a period."""
        if self._usual_lateness is None:
            # The constant delay between hearing and delivery. No live sound comes before it is made: if it seems to
            # come slightly early, the first block was late, and with it the start of the stream.
            self._usual_lateness = lateness if lateness < -STEP_MICROSECONDS else max(0, lateness)
        error = lateness - self._usual_lateness
        microseconds = self._microseconds_at(sample)
        if abs(error) > STEP_MICROSECONDS:
            microseconds, error = microseconds + max(0, error), 0
        slew_ppm = error * RATE_HZ // PERIOD_SAMPLES
        self._anchors.append(_Anchor(sample, microseconds, slew_ppm))


class WallClockWatch:
    """Notices that the wall clock jumped: it was set, or the machine slept (monotonic time stands still then)."""

    def __init__(
        self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Take both clocks, in seconds."""
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def jump_seconds(self) -> float:
        """Return how far the wall clock jumped since the last call (negative: set back), 0.0 if not."""
        offset = self._wall() - self._monotonic()
        jump, self._offset = offset - self._offset, offset
        return jump if abs(jump) * 1_000_000 > STEP_MICROSECONDS else 0.0
