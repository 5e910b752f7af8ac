"""The gate as a function of levels, scores and samples: when it may open, and that it never does otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clapstream.audio.block import RATE_HZ
from clapstream.detection.gate import FLOOR_QUANTILE, HISTORY_SAMPLES, Gate, GateRule, NoiseFloor

HOP = 5 * RATE_HZ // 2
WINDOW = 4 * HOP
RULE = GateRule(margin_db=3.0, check_samples=30 * RATE_HZ)
LEARNING = 24
"""Hops of the first minute."""


@dataclass
class Listener:
    """A gate with a model behind it: windows that the gate does not let pass are scored."""

    gate: Gate
    window: int = WINDOW
    hop: int = HOP
    hops: int = 3

    def hear(self, level: float | np.ndarray, share: float = 0.0) -> bool:
        """The next window, its newest hop at a level in dBFS; returns whether it passed unscored."""
        self.hops += 1
        end = self.hops * self.hop
        levels = np.broadcast_to(np.float32(level), (2, 3))
        passed = self.gate.hear(end - self.window, end, end - self.hop, levels)
        if not passed:
            self.gate.scored(end, share)
        return passed

    def hear_all(self, levels: Iterable[float], share: float = 0.0) -> list[bool]:
        return [self.hear(level, share) for level in levels]


def listener(rule: GateRule = RULE, learned: bool = True, window: int = WINDOW, hop: int = HOP) -> Listener:
    made = Listener(Gate(rule, window, hop), window, hop)
    if learned:
        made.hear_all([-60.0] * (LEARNING * HOP // hop))
    return made


def test_the_first_minute_and_a_window_more_are_scored() -> None:
    passed = listener(learned=False).hear_all([-60.0] * (LEARNING + 10))
    assert passed.index(True) == LEARNING + 3, "a floor is known after a minute, and then a whole window lies in it"


def test_at_least_one_window_is_scored_every_check() -> None:
    passed = listener().hear_all([-60.0] * 241)[3:]
    scored = [index for index, let_pass in enumerate(passed) if not let_pass]
    assert set(np.diff(scored)) == {12}, "12 hops of 2.5 s are 30 s"


@pytest.mark.parametrize(
    ("change_db", "is_noticed"), [(2.9, False), (-2.9, False), (3.1, True), (-3.1, True), (30.0, True)]
)
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (1, 1)])
def test_one_band_beyond_the_margin_is_enough(place: tuple[int, int], change_db: float, is_noticed: bool) -> None:
    room = listener()
    room.hear_all([-60.0] * 5)
    levels = np.full((2, 3), -60.0)
    levels[place] += change_db
    assert room.hear(levels) is not is_noticed


def test_after_a_sound_a_whole_window_is_scored_again() -> None:
    room = listener()
    room.hear_all([-60.0] * 5)
    assert room.hear_all([-40.0, *[-60.0] * 5]) == [False, False, False, False, True, True]


def test_what_is_no_number_does_not_pass() -> None:
    room = listener()
    assert room.hear_all([-60.0] * 5)[-1]
    assert not room.hear(float("nan"))


@pytest.mark.parametrize(("share", "opens"), [(0.49, True), (0.5, False), (1.7, False)])
def test_the_model_must_agree(share: float, opens: bool) -> None:
    room = listener(learned=False)
    assert any(room.hear_all([-60.0] * 60, share)) is opens


def test_a_label_that_comes_near_in_a_check_closes_the_gate_for_a_windows_length() -> None:
    room = listener()
    passed = [room.hear(-60.0) for _ in range(6)]
    while passed[-1]:
        passed.append(room.hear(-60.0, share=0.6))
    assert room.hear_all([-60.0] * 5) == [False] * 4 + [True]


def test_other_labels_must_be_listened_to_first() -> None:
    room = listener()
    room.hear_all([-60.0] * 5)
    room.gate.distrust()
    assert room.hear_all([-60.0] * 5) == [False] * 4 + [True]


def test_a_hole_is_not_trusted() -> None:
    room = listener()
    assert room.hear_all([-60.0] * 5)[-1]
    room.hops += 3
    assert room.hear_all([-60.0] * 5) == [False, False, False, True, True]


def test_a_new_noise_is_floor_after_two_minutes_and_the_old_one_is_not() -> None:
    room = listener()
    room.hear_all([-60.0] * 240)
    quieter = room.hear_all([-70.0] * 240)
    assert not any(quieter[:47])
    assert any(quieter[47:60])
    louder = room.hear_all([-50.0] * 240)
    assert not any(louder[: round((1 - FLOOR_QUANTILE) * 240) - 2]), "a sound that goes on is no floor for long"


@pytest.mark.parametrize(
    ("window", "hop"), [(WINDOW, RATE_HZ // 10), (RATE_HZ // 2, RATE_HZ // 10), (WINDOW, WINDOW)]
)
def test_it_opens_whatever_the_hop(window: int, hop: int) -> None:
    room = listener(learned=False, window=window, hop=hop)
    passed = room.hear_all([-60.0] * (120 * RATE_HZ // hop))
    assert any(passed)
    assert not any(passed[: 57 * RATE_HZ // hop]), "the first period begins with the stream"


def test_the_floor_is_the_quantile_of_the_last_ten_minutes() -> None:
    levels = np.random.default_rng(0).normal(-60, 5, (400, 2, 3)).astype(np.float32)
    floor = NoiseFloor(HOP)
    for row in levels:
        floor.learn(row)
    kept = HISTORY_SAMPLES // HOP
    expected = np.sort(levels[-kept:], axis=0)[int(FLOOR_QUANTILE * kept)]
    assert floor.distance_db(expected) == 0.0
    assert floor.distance_db(expected - 4) == pytest.approx(4.0, abs=1e-4)


@st.composite
def evenings(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Levels in dBFS and the model's loudest share, hop by hop, after a quiet minute."""
    stretch = st.tuples(
        st.integers(1, 12), st.sampled_from([-60.0, -60.0, -58.0, -50.0]), st.sampled_from([0, 0, 0.6])
    )
    drawn = draw(st.lists(stretch, min_size=1, max_size=8))
    return list(itertools.chain.from_iterable([(level, share)] * hops for hops, level, share in drawn))


@settings(deadline=None)  # a busy machine is no failure
@given(evenings())
def test_nothing_passes_that_is_loud_doubtful_or_unchecked(evening: list[tuple[float, float]]) -> None:
    room = listener()
    heard, shares, scored_ago = [-60.0] * 4, [0.0] * 4, 0
    for level, share in evening:
        passed = room.hear(level, share)
        heard.append(level)
        scored_ago += 1
        if passed:
            assert max(heard[-4:]) < -57, "a fifth of the time it was at -60 dBFS"
            assert max(shares[-4:]) < 0.5
            assert scored_ago < 12
        else:
            shares.append(share)
            scored_ago = 0
