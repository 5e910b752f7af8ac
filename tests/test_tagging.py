"""Windows over a whole file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clapstream.tagging import tag_samples, window_spans


@given(frames=st.integers(1, 500), window=st.integers(1, 60), data=st.data())
def test_windows_cover_every_frame_and_stay_inside(frames: int, window: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, window))
    spans = window_spans(frames, window, hop)
    assert spans[0][0] == 0
    assert spans[-1][1] == frames
    assert all(end - first == min(window, frames) for first, end in spans)
    assert all(0 < later[0] - earlier[0] <= hop for earlier, later in zip(spans, spans[1:], strict=False))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        window_spans(0, 10, 5)


def test_scores_belong_to_their_windows() -> None:
    class FirstSample:
        def score(self, windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.array([[window[0]] for window in windows], dtype=np.float32)

    samples = np.arange(100, dtype=np.float32)
    tagged = list(tag_samples(samples, FirstSample(), window_frames=10, hop_frames=5))
    assert len(tagged) == 19
    assert all(float(window.scores[0]) == window.first_frame for window in tagged)
