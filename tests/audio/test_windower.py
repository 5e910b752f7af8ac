"""Windows are exact to the sample, whatever the blocks, and never splice a hole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.audio.block import Block
from clapstream.audio.windower import Window, Windower


def ramp(first: int, end: int) -> np.ndarray:
    """Sound whose every sample is its own index, so that each window can be checked against its place."""
    return np.arange(first, end, dtype=np.float32)


def push_all(windower: Windower, cuts: list[int], sample_count: int, first: int = 0) -> list[Window]:
    """Push so many samples in blocks cut at `cuts`; the sound is a ramp from 0, its samples count from `first`."""
    windows = []
    edges = [0, *(cut for cut in sorted(set(cuts)) if cut < sample_count), sample_count]
    for start, stop in itertools.pairwise(edges):
        windows += windower.push(Block(first + start, ramp(start, stop)))
    return windows


sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: (max(pair), min(pair)))


class TestSizes:
    @pytest.mark.parametrize("hop", [0, -1, 11])
    def test_hop_must_fit(self, hop: int) -> None:
        with pytest.raises(ValueError, match="hop must be 1 to 10"):
            Windower(10, hop)

    def test_hop_may_be_the_window(self) -> None:
        windows = push_all(Windower(10, 10), [], 30)
        assert [(window.first_sample, window.partial) for window in windows] == [
            (0, False),
            (10, False),
            (20, False),
        ]


class TestPush:
    def test_grows_until_whole(self) -> None:
        windows = push_all(Windower(10, 4), [], 17)
        table = [(w.first_sample, w.end_sample, w.partial, w.newest_hop_first_sample) for w in windows]
        assert table == [(0, 4, True, 0), (0, 8, True, 4), (2, 12, False, 8), (6, 16, False, 12)]

    @given(sizes, st.lists(st.integers(1, 400)), st.integers(0, 400), st.integers(0, 10**12))
    def test_any_cut_gives_the_same_windows(
        self, size: tuple[int, int], cuts: list[int], sample_count: int, first: int
    ) -> None:
        window_samples, hop_samples = size
        windows = push_all(Windower(window_samples, hop_samples), cuts, sample_count, first)
        assert len(windows) == sample_count // hop_samples
        for number, window in enumerate(windows, start=1):
            end = number * hop_samples
            begin = max(0, end - window_samples)
            assert (window.first_sample, window.end_sample) == (first + begin, first + end)
            np.testing.assert_array_equal(window.samples, ramp(begin, end))
            assert window.partial == (end < window_samples)

    @given(sizes, st.lists(st.tuples(st.integers(1, 150), st.integers(0, 50)), max_size=8))
    def test_windows_tile_the_stream_and_never_cross_a_hole(
        self, size: tuple[int, int], stretches: list[tuple[int, int]]
    ) -> None:
        window_samples, hop_samples = size
        windower = Windower(window_samples, hop_samples)
        position, heard = 0, []
        for sample_count, hole in stretches:
            windows = windower.push(Block(position, ramp(position, position + sample_count)))
            for window in windows:
                np.testing.assert_array_equal(window.samples, ramp(window.first_sample, window.end_sample))
            heard += windows
            position += sample_count + hole
        newest = [(window.newest_hop_first_sample, window.end_sample) for window in heard]
        assert all(end - begin == hop_samples for begin, end in newest)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(newest))

    def test_starts_over_behind_a_hole(self) -> None:
        windower = Windower(8, 4)
        assert len(windower.push(Block(0, ramp(0, 11)))) == 2
        (window,) = windower.push(Block(12, ramp(12, 16)))
        assert (window.first_sample, window.end_sample, window.partial) == (12, 16, True)

    def test_a_step_back_starts_over_too(self) -> None:
        windower = Windower(8, 4)
        windower.push(Block(0, ramp(0, 6)))
        (window,) = windower.push(Block(0, ramp(0, 4)))
        np.testing.assert_array_equal(window.samples, ramp(0, 4))

    def test_windows_own_their_samples(self) -> None:
        windower = Windower(4, 4)
        (first,) = windower.push(Block(0, ramp(0, 4)))
        windower.push(Block(4, ramp(4, 8)))
        np.testing.assert_array_equal(first.samples, ramp(0, 4))


class TestFlush:
    @given(sizes, st.integers(0, 200))
    def test_gives_what_no_window_had(self, size: tuple[int, int], sample_count: int) -> None:
        window_samples, hop_samples = size
        windower = Windower(window_samples, hop_samples)
        windower.push(Block(5, ramp(5, 5 + sample_count)))
        last = windower.flush()
        if sample_count % hop_samples == 0:
            assert last is None
        else:
            assert last is not None
            begin = max(5, 5 + sample_count - window_samples)
            np.testing.assert_array_equal(last.samples, ramp(begin, 5 + sample_count))
            assert last.hop_samples == sample_count % hop_samples
            assert last.partial == (sample_count < window_samples)
        assert windower.flush() is None

    def test_the_next_block_starts_a_new_stream(self) -> None:
        windower = Windower(8, 4)
        windower.push(Block(0, ramp(0, 6)))
        windower.flush()
        (window,) = windower.push(Block(6, ramp(6, 10)))
        assert window.first_sample == 6
