"""Sound is placed by its time stamps: holes, jitter, drift, clocks that are set, sound that is sent twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.audio.stream.timestamps import LEAST_HOLE_SECONDS, TOLERANCE_SECONDS, TimestampPlacer

RATE_HZ = 8000
PACKET = 160
LEAST_HOLE = round(LEAST_HOLE_SECONDS * RATE_HZ)


class Receiver:
    """Places packets of 20 ms, which come as they are made."""

    def __init__(self) -> None:
        self.placer = TimestampPlacer(RATE_HZ)
        self.now = 0
        self.end = 0
        self.holes: list[int] = []
        self.left_out = 0

    def receive(self, pts: int | None, *, passed: int = PACKET) -> None:
        """Take a packet after so much time."""
        self.now += passed
        place = self.placer.place(pts, PACKET, self.now)
        if place is None:
            self.left_out += PACKET
            return
        first, skipped = place
        self.left_out += skipped
        if first != self.end:
            self.holes.append(first - self.end)
        self.end = first + PACKET - skipped

    def receive_many(self, seconds: float, pts: int, *, passed: int = PACKET) -> int:
        """Take packets whose time stamps follow each other; the time stamp after them."""
        for _ in range(round(seconds * RATE_HZ / PACKET)):
            self.receive(pts, passed=passed)
            pts += PACKET
        return pts


class TestHoles:
    @pytest.mark.parametrize("hole_seconds", [0.15, 0.5, 4.0, 9.0])
    def test_a_jump_that_takes_its_time_is_a_hole_of_that_length(self, hole_seconds: float) -> None:
        receiver, hole = Receiver(), round(hole_seconds * RATE_HZ)
        pts = receiver.receive_many(20, 1_000_000) + hole
        receiver.receive(pts, passed=PACKET + hole)
        receiver.receive_many(20, pts + PACKET)
        assert receiver.holes == [hole]

    def test_the_last_packet_before_a_hole_may_be_held_up_until_its_end(self) -> None:
        receiver, hole = Receiver(), 4 * RATE_HZ
        pts = receiver.receive_many(20, 1_000_000)
        receiver.receive(pts, passed=PACKET + hole - 1000)
        receiver.receive(pts + PACKET + hole, passed=1000)
        receiver.receive_many(20, pts + 2 * PACKET + hole)
        assert receiver.holes == [hole]

    def test_small_losses_add_up_to_a_hole(self) -> None:
        receiver, pts = Receiver(), 0
        for _ in range(20):
            pts = receiver.receive_many(1, pts) + 2 * PACKET
            receiver.now += 2 * PACKET
        assert 0.6 * RATE_HZ < sum(receiver.holes) <= 0.8 * RATE_HZ
        assert abs(pts - 2 * PACKET - receiver.end) <= (TOLERANCE_SECONDS + 0.02) * RATE_HZ

    @given(st.lists(st.integers(-300, 300), min_size=10, max_size=100))
    def test_jitter_and_rounding_are_no_holes(self, jitters: list[int]) -> None:
        receiver = Receiver()
        for number, jitter in enumerate(jitters):
            receiver.receive(10_000 + number * PACKET + jitter)
        assert receiver.holes == []
        assert receiver.end == len(jitters) * PACKET

    @pytest.mark.parametrize("drift_ppm", [-200, 200])
    def test_drift_is_no_hole(self, drift_ppm: int) -> None:
        receiver = Receiver()
        for number in range(3600 * RATE_HZ // PACKET):
            receiver.receive(number * PACKET * (1_000_000 + drift_ppm) // 1_000_000)
        assert receiver.holes == []
        assert receiver.left_out == 0

    def test_sound_without_time_stamps_follows_what_came_before(self) -> None:
        receiver = Receiver()
        receiver.receive(5000)
        for _ in range(20):
            receiver.receive(None)
        receiver.receive(5000 + 21 * PACKET)
        assert receiver.holes == []


class TestClocksThatAreSet:
    @pytest.mark.parametrize("jump_seconds", [-3600, -30, 3, 9, 3600])
    def test_sound_goes_on_in_time_behind_a_small_hole(self, jump_seconds: int) -> None:
        receiver = Receiver()
        pts = receiver.receive_many(20, 100_000_000) + jump_seconds * RATE_HZ
        receiver.receive_many(20, pts)
        assert len(receiver.holes) == 1
        assert LEAST_HOLE <= receiver.holes[0] <= 2 * PACKET
        assert receiver.left_out == 0

    def test_a_hole_before_it_is_as_long_as_the_time_that_passed(self) -> None:
        receiver = Receiver()
        receiver.receive_many(20, 100_000_000)
        receiver.receive(0, passed=4 * RATE_HZ)
        receiver.receive_many(10, PACKET)
        assert receiver.holes == [pytest.approx(4 * RATE_HZ, abs=2 * PACKET)]

    @pytest.mark.parametrize("jump_seconds", [0.5, 1.0, 4.0])
    def test_one_that_is_set_back_a_little_costs_two_seconds_at_most(self, jump_seconds: float) -> None:
        receiver = Receiver()
        pts = receiver.receive_many(20, 100_000_000) - round(jump_seconds * RATE_HZ)
        receiver.receive_many(20, pts)
        assert len(receiver.holes) == 1
        assert receiver.holes[0] == pytest.approx(receiver.left_out, abs=2 * PACKET)
        assert receiver.left_out <= 2.1 * RATE_HZ
        assert receiver.end == pytest.approx(receiver.now, abs=2 * PACKET)


class TestSentTwice:
    @pytest.mark.parametrize("seconds", [0.2, 1.0, 4.0])
    def test_is_heard_once(self, seconds: float) -> None:
        receiver = Receiver()
        pts = receiver.receive_many(20, 500) - round(seconds * RATE_HZ)
        pts = receiver.receive_many(seconds, pts, passed=0)
        receiver.receive_many(5, pts)
        assert receiver.holes == []
        assert receiver.left_out == seconds * RATE_HZ

    def test_each_packet_twice(self) -> None:
        receiver = Receiver()
        for number in range(1000):
            receiver.receive(number * PACKET)
            if number > 10:
                receiver.receive((number - 10) * PACKET, passed=0)
        assert receiver.end == 1000 * PACKET
        assert receiver.holes == []


@given(st.lists(st.tuples(st.integers(-(10**9), 10**9) | st.none(), st.integers(0, 10**6)), max_size=60))
def test_whatever_is_stamped_nothing_is_placed_before_what_was_heard(packets: list[tuple[int | None, int]]) -> None:
    receiver = Receiver()
    for pts, passed in packets:
        receiver.receive(pts, passed=passed)
    assert all(hole > 0 for hole in receiver.holes)


def test_random_losses_keep_the_time() -> None:
    """Over an hour in which a camera's network loses up to three seconds now and then."""
    receiver, chance, pts = Receiver(), random.Random(1), 0
    for _ in range(3600 * RATE_HZ // PACKET):
        lost = chance.randrange(150) if chance.random() < 0.001 else 0
        receiver.receive(pts + lost * PACKET, passed=(lost + 1) * PACKET)
        pts += (lost + 1) * PACKET
        assert abs(receiver.end - receiver.now) <= (TOLERANCE_SECONDS + 0.1) * RATE_HZ
