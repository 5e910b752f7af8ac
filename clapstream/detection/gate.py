"""The gate: recognises windows of background noise alone, for which the model need not run.

A source has a noise floor: the hum, hiss and rustle that are there when nothing happens. The gate learns it in each
band of frequencies. It lets a window pass unscored only while nothing in it differs from that floor, louder or
quieter, and while the model, run at intervals, finds no label. Everything here is integer samples
and dB of one stream; nothing here knows a clock, a label or a model.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ

Levels = NDArray[np.float32]
"""dBFS by band, of a shape that is always the same (see `band_levels`)."""

SPAN_SAMPLES = 5 * RATE_HZ // 2
"""Levels are those of the newest 2.5 s, or of the newest hop if that is longer."""

HISTORY_SAMPLES = 600 * RATE_HZ
"""Ten minutes: a fan that was switched on is floor by then, a passing car is not."""

LEAST_SAMPLES = 60 * RATE_HZ
"""In the first minute of a stream no floor is known."""

FLOOR_QUANTILE = 0.2
"""The floor is what the levels stay below for a fifth of the time: low, so that sounds hardly raise it."""

QUIET_SHARE = 0.5
"""The model confirms background noise if every label scores less than this share of its `start`."""


@dataclass(frozen=True, slots=True)
class GateRule:
    """Limits within which the gate skips windows.

    Every level must be within `margin_db` of the floor, and one window is scored at least every `check_samples`.
    """

    margin_db: float
    check_samples: int


class NoiseFloor:
    """The levels of a stream when nothing happens: a low quantile, in each band, of the last minutes."""

    def __init__(self, period_samples: int) -> None:
        """Take how many samples lie between two levels that are learned."""
        self._history: deque[Levels] = deque(maxlen=max(1, HISTORY_SAMPLES // period_samples))
        self._least = -(-LEAST_SAMPLES // period_samples)
        self._floor: Levels | None = None

    def learn(self, levels: Levels) -> None:
        """Take the levels of the next period."""
        self._history.append(levels)
        if len(self._history) >= self._least:
            rank = int(FLOOR_QUANTILE * len(self._history))
            self._floor = np.partition(np.stack(self._history), rank, axis=0)[rank]

    def distance_db(self, levels: Levels) -> float:
        """How far the levels are from the floor in the band where they are farthest; infinite until it is known.

        Quieter counts as louder does: then the floor is no longer the one that was learned, and what lies below
        that one may be anything.
        """
        return float("inf") if self._floor is None else float(np.abs(levels - self._floor).max())


class Gate:
    """Decides which windows of one stream hold background noise alone.

    That is a window whose every span was within the floor's margin, after as many quiet scored windows as a sound
    can lie in, the newest of them not long ago.
    """

    def __init__(self, rule: GateRule, window_samples: int, hop_samples: int) -> None:
        self._rule = rule
        self._windows_per_sound = -(-window_samples // hop_samples)
        self.span_samples = min(window_samples, max(hop_samples, SPAN_SAMPLES))
        """Of how many of its newest samples a window's levels must be."""
        self._period_samples = -(-max(self.span_samples, SPAN_SAMPLES) // hop_samples) * hop_samples
        self._floor = NoiseFloor(self._period_samples)
        self._learned_to: int | None = None
        self._heard_to: int | None = None
        self._steady_from: int | None = None
        self._quiet_windows = 0
        self._scored_to = 0

    def hear(self, first_sample: int, end_sample: int, newest_sample: int, levels: Levels) -> bool:
        """Take the levels of a whole window's newest span; True if the window is background noise alone.

        The window is `[first_sample, end_sample)`; no earlier one had its samples from `newest_sample` on. Windows
        come in order; what was not heard between them, a hole or the partial windows behind it, is not trusted.
        """
        span_from = end_sample - self.span_samples
        if newest_sample != self._heard_to:
            self._steady_from = None
        if (
            not self._floor.distance_db(levels) <= self._rule.margin_db
        ):  # written so that NaN does not match the floor
            self._steady_from = None
        elif self._steady_from is None:
            self._steady_from = span_from
        self._heard_to = end_sample
        if self._learned_to is None or end_sample - self._learned_to >= self._period_samples:
            self._floor.learn(levels)
            self._learned_to = end_sample
        return (
            self._steady_from is not None
            and self._steady_from <= first_sample
            and self._quiet_windows >= self._windows_per_sound
            and end_sample - self._scored_to < self._rule.check_samples
        )

    def scored(self, end_sample: int, loudest_share: float) -> None:
        """Take the scores of the window that ends before `end_sample`.

        `loudest_share` is the highest score of a label, as a share of what starts an event of it.
        """
        self._scored_to = end_sample
        self._quiet_windows = self._quiet_windows + 1 if loudest_share < QUIET_SHARE else 0

    def distrust(self) -> None:
        """Discard earlier scores: the labels change."""
        self._quiet_windows = 0
