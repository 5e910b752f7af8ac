"""Resampled sound lies at its exact place, however it is cut, and never across a hole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.resampling import StreamResampler

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]


def sine(rate_hz: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate_hz * seconds)) / rate_hz).astype(np.float32)


def check_contiguous(blocks: list[Block]) -> np.ndarray:
    position = blocks[0].first_sample
    for block in blocks:
        assert block.first_sample == position
        assert len(block.samples)
        assert block.samples.dtype == np.float32
        position = block.end_sample
    return np.concatenate([block.samples for block in blocks])


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_sine_stays_in_place(rate_hz: int) -> None:
    sound = sine(rate_hz, 1.0)
    resampler = StreamResampler(rate_hz)
    size = rate_hz // 10
    blocks = []
    for first in range(0, len(sound), size):
        blocks += resampler.push(first, sound[first : first + size])
    result = check_contiguous(blocks + resampler.finish())
    assert len(result) == RATE_HZ
    inner = slice(RATE_HZ // 20, -RATE_HZ // 20)  # the filter rings at both ends
    np.testing.assert_allclose(result[inner], sine(RATE_HZ, 1.0)[inner], atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(1, 20_000), max_size=6), st.integers(1, 20_000))
def test_cuts_make_no_difference(rate_hz: int, cuts: list[int], sample_count: int) -> None:
    sound = np.random.default_rng(sample_count).uniform(-0.25, 0.25, sample_count).astype(np.float32)
    resampler = StreamResampler(rate_hz)
    edges = [0, *(cut for cut in sorted(set(cuts)) if cut < sample_count), sample_count]
    blocks = []
    for first, end in itertools.pairwise(edges):
        blocks += resampler.push(first, sound[first:end])
    blocks += resampler.finish()
    whole = sound if rate_hz == RATE_HZ else soxr.resample(sound, rate_hz, RATE_HZ)
    result = check_contiguous(blocks) if blocks else np.zeros(0)
    assert len(result) == len(whole)
    np.testing.assert_allclose(result, whole, atol=1e-5)


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_hole_stays_a_hole(rate_hz: int) -> None:
    resampler = StreamResampler(rate_hz)
    before = resampler.push(0, np.full(rate_hz, 0.5, dtype=np.float32))
    both = resampler.push(3 * rate_hz, np.full(rate_hz, -0.5, dtype=np.float32))
    tail = [block for block in both if block.first_sample < 3 * RATE_HZ]
    after = [block for block in both if block.first_sample >= 3 * RATE_HZ] + resampler.finish()
    first, second = check_contiguous(before + tail), check_contiguous(after)
    assert (before + tail)[-1].end_sample == RATE_HZ
    assert after[0].first_sample == 3 * RATE_HZ
    assert after[-1].end_sample == 4 * RATE_HZ
    assert first.min() > -0.1
    assert second.max() < 0.1


@pytest.mark.parametrize("rate_hz", [0, -1, 999, 768_001])
def test_absurd_rates_are_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="not between"):
        StreamResampler(rate_hz)


def test_the_filter_does_not_overshoot_full_scale() -> None:
    resampler = StreamResampler(8_000)
    steps = np.repeat(np.array([1.0, -1.0] * 20, dtype=np.float32), 40)
    samples = np.concatenate([block.samples for block in [*resampler.push(0, steps), *resampler.finish()]])
    assert samples.dtype == np.float32
    assert samples.max() == 1.0
    assert samples.min() == -1.0
