"""Windows over a whole file."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clapstream.audio.block import Block
from clapstream.audio.files.file_windows import file_windows


def blocks(samples: int, size: int) -> list[Block]:
    sound = np.arange(samples, dtype=np.float32)
    return [Block(first, sound[first : first + size]) for first in range(0, samples, size)]


@given(samples=st.integers(1, 500), window=st.integers(1, 60), size=st.integers(1, 200), data=st.data())
def test_windows_cover_every_sample_and_are_whole_where_they_can_be(
    samples: int, window: int, size: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, window))
    windows = list(file_windows(blocks(samples, size), window, hop))
    covered = {sample for each in windows for sample in range(each.first_sample, each.end_sample)}
    assert covered == set(range(samples))
    assert windows[-1].end_sample == samples
    assert sum(each.partial for each in windows) <= 1
    assert all(float(each.samples[0]) == each.first_sample for each in windows)


def test_the_first_sample_of_a_file_hardly_longer_than_a_window_is_in_one() -> None:
    windows = list(file_windows(blocks(42, 1), 41, 4))
    assert [(each.first_sample, each.end_sample) for each in windows] == [(0, 40), (1, 42)]


def test_no_sound_gives_no_windows() -> None:
    assert list(file_windows([], 10, 5)) == []
