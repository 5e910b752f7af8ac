"""What arrives is made finite, limited and mono."""

from __future__ import annotations

import numpy as np
import pytest

from clapstream.audio.samples import choose_channel, full_scale, sane_samples


def test_sane_samples() -> None:
    wild = np.array([0.5, np.nan, np.inf, -np.inf, 3.0, -1e30, -0.25], dtype=np.float32)
    samples, replaced = sane_samples(wild)
    np.testing.assert_array_equal(samples, np.array([0.5, 0, 0, 0, 1, -1, -0.25], dtype=np.float32))
    assert replaced == 3
    assert samples.dtype == np.float32


@pytest.mark.parametrize(("channel", "expected"), [("mix", 2.0), ("left", 1.0), ("right", 2.0), (0, 1.0), (2, 3.0)])
def test_choose_channel(channel: str | int, expected: float) -> None:
    three = np.tile(np.array([1, 2, 3], dtype=np.float32), (4, 1))
    chosen = choose_channel(three, channel)
    assert chosen.dtype == np.float32
    np.testing.assert_array_equal(chosen, np.full(4, expected))


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (
            3,
            "has 3 channels: there is no channel 3; set channel to mix, left, right or an index from 0 to 2",
        ),
        (-1, "there is no channel -1"),
        ("centre", "there is no channel centre"),
    ],
)
def test_a_channel_that_does_not_exist_is_refused(channel: str | int, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        choose_channel(np.zeros((4, 3), dtype=np.float32), channel)


def test_mono_has_no_right_channel() -> None:
    with pytest.raises(LookupError, match="the sound has 1 channel: there is no channel right"):
        choose_channel(np.zeros((4, 1), dtype=np.float32), "right")


def test_doubles_beyond_single_precision_are_not_finite() -> None:
    samples, replaced = sane_samples(full_scale(np.array([[1e300], [0.5]])))
    assert samples.tolist() == [[0.0], [0.5]]
    assert replaced == 1
