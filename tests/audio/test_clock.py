"""Samples keep the right time over drift, late blocks, jumps and years."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.audio.block import RATE_HZ
from clapstream.audio.clock import STEP_MICROSECONDS, StreamClock, WallClockWatch

START = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


class TestStreamClock:
    def test_is_samples_over_rate_at_first(self) -> None:
        clock = StreamClock(START)
        assert clock.utc(0) == START
        assert clock.utc(RATE_HZ * 3 // 2) == START + seconds(1.5)

    @pytest.mark.parametrize("drift_ppm", [-100, -50, 0, 50, 100])
    def test_follows_a_drifting_sound_card(self, drift_ppm: int) -> None:
        clock = StreamClock(START)
        jitter = random.Random(1)
        for second in range(0, 24 * 3600, 5):
            sample = int(second * RATE_HZ * (1 + drift_ppm * 1e-6))
            late = 0.1 if second % 60 == 0 else 0.1 + jitter.random()
            clock.arrived(sample, START + seconds(second + late))
            assert abs((clock.utc(sample) - START).total_seconds() - second) < 0.02

    def test_the_usual_delay_of_blocks_is_no_drift(self) -> None:
        clock = StreamClock(START)
        for second in range(600):
            clock.arrived(second * RATE_HZ, START + seconds(second + 1.5))
        assert clock.utc(600 * RATE_HZ) == START + seconds(600)

    def test_a_first_block_that_was_late_is_made_up_for(self) -> None:
        clock = StreamClock(START)
        for second in range(3600):
            clock.arrived(second * RATE_HZ, START + seconds(second - 1.0))
        assert abs((clock.utc(3599 * RATE_HZ) - START).total_seconds() - 3598) < 0.01

    def test_steps_over_a_suspend(self) -> None:
        clock = StreamClock(START)
        for second in range(600):
            asleep = 3600 if second >= 300 else 0
            clock.arrived(second * RATE_HZ, START + seconds(second + asleep))
        assert clock.utc(200 * RATE_HZ) == START + seconds(200)
        assert clock.utc(599 * RATE_HZ) == START + seconds(599 + 3600)

    def test_goes_on_when_the_wall_clock_is_set_back(self) -> None:
        clock = StreamClock(START)
        for second in range(600):
            set_back = 7200 if second >= 300 else 0
            clock.arrived(second * RATE_HZ, START + seconds(second - set_back))
        assert clock.utc(599 * RATE_HZ) == START + seconds(599)

    def test_a_file_read_fast_keeps_its_own_time(self) -> None:
        clock = StreamClock(START)
        for second in range(3600):
            clock.arrived(second * RATE_HZ, START + seconds(second / 100))
        assert clock.utc(3600 * RATE_HZ) == START + seconds(3600)

    @given(
        st.lists(
            st.tuples(st.integers(1, 90 * RATE_HZ), st.integers(-4 * STEP_MICROSECONDS, 4 * STEP_MICROSECONDS)),
            max_size=60,
        )
    )
    def test_never_goes_backwards_and_the_same_sample_keeps_its_time(self, blocks: list[tuple[int, int]]) -> None:
        clock = StreamClock(START)
        sample, asked = 0, {0: clock.utc(0)}
        for sample_count, late in blocks:
            sample += sample_count
            clock.arrived(sample, START + seconds(sample / RATE_HZ) + timedelta(microseconds=late))
            asked[sample] = clock.utc(sample)
            assert all(clock.utc(earlier) == answer for earlier, answer in asked.items())
        answers = [asked[key] for key in sorted(asked)]
        assert answers == sorted(answers)
        near = [clock.utc(sample + offset) for offset in range(-50, 1)]
        assert near == sorted(near)

    def test_a_century_loses_no_precision(self) -> None:
        clock = StreamClock(START)
        century = 36_525 * 24 * 3600
        assert clock.utc(century * RATE_HZ + 48) - START == seconds(century) + timedelta(milliseconds=1)


class TestWallClockWatch:
    @pytest.mark.parametrize(
        ("wall", "monotonic", "jump"),
        [
            (10.0, 10.0, 0.0),
            (10.4, 10.0, 0.0),
            (3610.0, 10.0, 3600.0),
            (-3590.0, 10.0, -3600.0),
        ],
    )
    def test_distinguishes_jumps_from_slewing(self, wall: float, monotonic: float, jump: float) -> None:
        walls, monotonics = iter([0.0, wall, wall + 1]), iter([0.0, monotonic, monotonic + 1])
        watch = WallClockWatch(lambda: next(walls), lambda: next(monotonics))
        assert watch.jump_seconds() == pytest.approx(jump)
        assert watch.jump_seconds() == 0.0


class TestWallClockThatIsSet:
    @pytest.mark.parametrize("jump", [7200.0, -7200.0])
    def test_a_jump_moves_all_times_at_once(self, jump: float) -> None:
        wall = {"seconds": 0.0}
        clock = StreamClock(START, WallClockWatch(lambda: wall["seconds"], lambda: 0.0))
        for second in range(300):
            wall["seconds"] = jump if second >= 100 else 0.0
            clock.arrived(second * RATE_HZ, START + seconds(second + wall["seconds"]))
        assert clock.utc(299 * RATE_HZ) == START + seconds(299 + jump)

    @pytest.mark.parametrize("jump", [1.5, -1.5])
    def test_a_small_one_is_followed_within_two_minutes(self, jump: float) -> None:
        clock = StreamClock(START)
        for second in range(400):
            set_by = jump if second >= 200 else 0.0
            clock.arrived(second * RATE_HZ, START + seconds(second + set_by))
        assert abs((clock.utc(399 * RATE_HZ) - START).total_seconds() - 399 - jump) < 0.05
