"""Where sound belongs in its stream, by its presentation time stamps (PTS). Pure: the caller has a clock."""

from __future__ import annotations

TOLERANCE_SECONDS = 0.1
"""A PTS may be off by this without a hole: FFmpeg's `aresample=async` allows as much (its min_hard_comp), since
containers round to milliseconds, cameras stamp with jitter, and RTCP reports shift times a little."""

MAX_SLEW_PPM = 500
"""How fast the drift between PTS and counted samples is followed: clocks are within 100 ppm. What losses within the
tolerance add up to is faster, so that it becomes a hole."""

LONGEST_HOLE_SECONDS = 10
"""A larger jump of the PTS is not lost sound (the stream would have been lost first) but a clock that was set."""

LONGEST_OVERLAP_SECONDS = 5
"""A PTS that goes back by up to this may be sound that was sent twice; further back, a clock that was set."""

OVERLAP_WAIT_SECONDS = 2
"""Sound that was sent twice comes at once. If the overlap lasts longer, a clock was set."""

LEAST_HOLE_SECONDS = 0.01
"""The hole where a clock was set, so that no window contains sound from both sides."""

LAG_SECONDS = 2
STEADY_SECONDS = 0.5
EARLY_SECONDS = 1.0
"""In live sound, a jump that would put it this much before its time is a clock that was set."""

FAR_AHEAD_SECONDS = 20
"""Sound this far ahead of its time is read from a file, where a hole takes no time to pass."""


class TimestampPlacer:
    """Places the sound of one stream at one rate; positions, PTS and times are all counted in samples at that rate.

    A forward jump of the PTS is a hole of that length. Where a clock was set (a jump back, or one that sound cannot
    make in the time that passed), sound goes on after a hole as long as the time that passed. Sound whose PTS was
    already heard is left out. Sound without PTS follows what came before.
    """

    def __init__(self, rate_hz: int) -> None:
        """Take the rate of the sound."""
        self._rate_hz = rate_hz
        self._tolerance = round(TOLERANCE_SECONDS * rate_hz)
        self._end = 0
        self._origin: int | None = None  # the PTS of position 0
        self._next_pts: int | None = None
        self._samples_since_slew = 0
        self._lag_since = 0  # how late sound comes at least, since then and in the stretch before
        self._least_lag = 0
        self._least_lag_before: int | None = None
        self._overlap_began: int | None = None
        self._overlap_samples = 0

    def place(self, pts: int | None, sample_count: int, now: int) -> tuple[int, int] | None:
        """Return the position of the sound and how many of its first samples to leave out; None to leave out all.

        `now` is a monotonic time, from the arrival of the first sound on.
        """
        pts = self._next_pts if pts is None else pts
        skipped, hole = 0, 0
        if pts is not None:
            self._next_pts = pts + sample_count
            if self._origin is None:
                self._origin = pts - self._end
            deviation = pts - self._origin - self._end
            if deviation < (-self._tolerance if self._overlap_began is None else 0):
                skipped, hole = self._overlap(deviation, sample_count, now)
                if skipped == sample_count:
                    return None
            else:
                hole = self._hole(deviation, now)
            if hole:
                self._origin = pts + skipped - self._end - hole
            self._slew(pts + skipped - self._end - hole, sample_count - skipped)
        first = self._end + hole
        self._end = first + sample_count - skipped
        self._note_lag(now)
        return first, skipped

    def _overlap(self, deviation: int, sample_count: int, now: int) -> tuple[int, int]:
        """Return how many samples to leave out and how long a hole to leave, of a PTS that was already heard."""
        if self._overlap_began is None:
            self._overlap_began, self._overlap_samples = now, 0
        waited = now - self._overlap_began
        if -deviation > LONGEST_OVERLAP_SECONDS * self._rate_hz or waited > OVERLAP_WAIT_SECONDS * self._rate_hz:
            self._overlap_began = None
            return 0, self._hole_of_passed_time(now)
        skipped = min(sample_count, -deviation)
        self._overlap_samples += skipped
        return skipped, 0 if skipped == sample_count else self._hole_after_overlap(now)

    def _hole(self, deviation: int, now: int) -> int:
        """Return how long a hole to leave before a PTS that is not before its place."""
        hole = self._hole_after_overlap(now)
        if deviation <= self._tolerance:
            return hole
        if deviation > LONGEST_HOLE_SECONDS * self._rate_hz or self._comes_too_early(deviation, now):
            return self._hole_of_passed_time(now)
        return deviation

    def _hole_after_overlap(self, now: int) -> int:
        """Return how long a hole to leave where an overlap ends: none if the sound had been sent twice."""
        began, self._overlap_began = self._overlap_began, None
        was_new = began is not None and 2 * (now - began) > self._overlap_samples > self._tolerance
        return self._hole_of_passed_time(now) if was_new else 0

    def _comes_too_early(self, deviation: int, now: int) -> bool:
        """Whether sound is live, but this would come before it was made."""
        lag, before = now - self._end, self._least_lag_before
        if before is None or lag < -FAR_AHEAD_SECONDS * self._rate_hz:
            return False
        steady = lag > before - STEADY_SECONDS * self._rate_hz
        return steady and lag - deviation < min(before, self._least_lag) - EARLY_SECONDS * self._rate_hz

    def _hole_of_passed_time(self, now: int) -> int:
        least = round(LEAST_HOLE_SECONDS * self._rate_hz)
        if self._least_lag_before is None:
            return least
        return max(least, now - self._end - min(self._least_lag_before, self._least_lag))

    def _slew(self, origin: int, sample_count: int) -> None:
        """Follow the drift between PTS and counted samples, a little each second, towards the newest `origin`."""
        assert self._origin is not None
        self._samples_since_slew += sample_count
        if self._samples_since_slew >= self._rate_hz:
            most = MAX_SLEW_PPM * self._samples_since_slew // 1_000_000
            self._origin += max(-most, min(most, origin - self._origin))
            self._samples_since_slew = 0

    def _note_lag(self, now: int) -> None:
        """Note how late the newest sound came. The least of some seconds counts: packets may be held up."""
        lag = now - self._end
        if now - self._lag_since >= LAG_SECONDS * self._rate_hz:
            self._least_lag_before, self._least_lag, self._lag_since = self._least_lag, lag, now
        else:
            self._least_lag = min(self._least_lag, lag)
