"""Windows and tags over a whole file."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block
from clapstream.commands.tag_windows import file_windows, tag_blocks


def blocks(frames: int, size: int) -> list[Block]:
    samples = np.arange(frames, dtype=np.float32)
    return [Block(first, samples[first : first + size]) for first in range(0, frames, size)]


@given(frames=st.integers(1, 500), window=st.integers(1, 60), size=st.integers(1, 200), data=st.data())
def test_windows_cover_every_frame_and_are_whole_where_they_can_be(
    frames: int, window: int, size: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, window))
    windows = list(file_windows(blocks(frames, size), window, hop))
    covered = {frame for each in windows for frame in range(each.first_sample, each.end_sample)}
    assert covered == set(range(frames))
    assert windows[-1].end_sample == frames
    assert sum(each.partial for each in windows) <= 1
    assert all(float(each.samples[0]) == each.first_sample for each in windows)


def test_the_first_frame_of_a_file_hardly_longer_than_a_window_is_in_one() -> None:
    windows = list(file_windows(blocks(42, 1), 41, 4))
    assert [(each.first_sample, each.end_sample) for each in windows] == [(0, 40), (1, 42)]


def test_no_sound_gives_no_windows() -> None:
    assert list(file_windows([], 10, 5)) == []


def test_tags_are_those_above_their_threshold_with_the_times_of_their_window() -> None:
    class Half:
        def score(self, windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.array([[0.5, 0.25] for _ in windows], dtype=np.float32)

    sound = [Block(0, np.zeros(3 * RATE_HZ, dtype=np.float32))]
    window_tags = list(
        tag_blocks(
            "yard.wav", sound, Half(), [("dog", 0.5), ("cat", 0.3)], window_samples=2 * RATE_HZ, hop_samples=RATE_HZ
        )
    )
    assert [[tag.label for tag in tags] for tags in window_tags] == [["dog"], ["dog"]]
    assert [json.loads(tags[0].as_json()) for tags in window_tags] == [
        {"file": "yard.wav", "start": 0.0, "end": 2.0, "label": "dog", "score": 0.5},
        {"file": "yard.wav", "start": 1.0, "end": 3.0, "label": "dog", "score": 0.5},
    ]
    assert "dog" in window_tags[0][0].as_text()
