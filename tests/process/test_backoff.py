"""Delays between attempts."""

from __future__ import annotations

from clapstream.process.backoff import Backoff


def test_doubles_up_to_the_cap() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 1.0)
    assert [backoff.next_seconds() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_half_of_it_is_random() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 0.0)
    assert [backoff.next_seconds() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_reset_starts_over_also_after_years() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 1.0)
    for _ in range(5_000):
        assert backoff.next_seconds() <= 10.0
    backoff.reset()
    assert backoff.next_seconds() == 1.0
