"""Delays between attempts to reconnect."""

from __future__ import annotations

from clapstream.process.backoff import Backoff


def test_delays_double_up_to_the_maximum() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 1.0)
    assert [backoff.next_seconds() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_half_of_each_delay_is_random() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 0.0)
    assert [backoff.next_seconds() for _ in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_reset_starts_again_even_after_thousands_of_attempts() -> None:
    backoff = Backoff(1.0, 10.0, random_fraction=lambda: 1.0)
    for _ in range(5_000):
        assert backoff.next_seconds() <= 10.0
    backoff.reset()
    assert backoff.next_seconds() == 1.0
