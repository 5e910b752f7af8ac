"""Features that are carried from window to window equal those of each window by itself."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.streaming import StreamingLogMel

TOLERANCE_DB = 2e-5  # float32 at -100 dB steps by 8e-6, and sums are rounded by the number of frames at once
HOP = 480
WINDOW = 24_000

EXTRACTOR = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50, max_length_s=0.5)


class Stream:
    """Stands for a stream: only its identity counts."""


class CountingExtractor(ClapFeatureExtractor):
    """Counts the frames that it computes."""

    frames = 0

    def log_mel(self, waveform, scale=None, *, centered=True):
        found = super().log_mel(waveform, scale, centered=centered)
        self.frames += found.shape[1]
        return found


def sound(seconds: float = 3.0) -> torch.Tensor:
    """Noise whose level runs from digital silence to clipping."""
    frames = int(seconds * 48_000)
    generator = torch.Generator().manual_seed(5)
    level = torch.linspace(-8, 0, frames)
    return torch.where(level < -7, 0.0, torch.randn(frames, generator=generator) * 10**level)


SOUND = sound()


def by_itself(window: torch.Tensor, extractor: ClapFeatureExtractor = EXTRACTOR) -> torch.Tensor:
    return extractor(window, sampling_rate=48_000, return_tensors="pt")["input_features"][0, 0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, len(SOUND) - WINDOW), min_size=1, max_size=6), st.booleans())
def test_any_sequence_of_windows_equals_each_by_itself(starts: list[int], on_grid: bool) -> None:
    streaming, stream = StreamingLogMel(EXTRACTOR), Stream()
    for start in starts:
        first = start // HOP * HOP if on_grid else start
        window = SOUND[first : first + WINDOW]
        found = streaming.log_mel(window, stream, first)
        torch.testing.assert_close(found, by_itself(window), rtol=0, atol=TOLERANCE_DB)


@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"hop_length": 320},
        {"hop_length": 500, "fft_window_size": 1000},
        {"hop_length": 600, "fft_window_size": 512},
        {"hop_length": 480, "fft_window_size": 2048},
        {"max_length_s": 0.4999},
    ],
    ids=str,
)
def test_any_geometry_equals_each_window_by_itself(geometry: dict[str, float]) -> None:
    extractor = ClapFeatureExtractor(
        **{"truncation": "rand_trunc", "frequency_min": 50, "max_length_s": 0.5, **geometry}
    )
    streaming, stream = StreamingLogMel(extractor), Stream()
    for first in range(0, 60_000, 12_000):
        window = SOUND[first : first + extractor.nb_max_samples]
        found = streaming.log_mel(window, stream, first)
        torch.testing.assert_close(found, by_itself(window, extractor), rtol=0, atol=TOLERANCE_DB)


def test_a_window_of_ten_seconds_computes_little_more_than_its_hop() -> None:
    extractor = CountingExtractor(truncation="rand_trunc", frequency_min=50)
    streaming, stream = StreamingLogMel(extractor), Stream()
    samples = sound(15)
    for first in (0, 120_000, 240_000):
        extractor.frames = 0
        streaming.log_mel(samples[first : first + 480_000], stream, first)
    assert 250 <= extractor.frames <= 260


def test_streams_do_not_mix() -> None:
    streaming, first, second = StreamingLogMel(EXTRACTOR), Stream(), Stream()
    other = -SOUND.flip(0)
    for start in (0, 4_800, 9_600):
        for samples, stream in ((SOUND, first), (other, second)):
            window = samples[start : start + WINDOW]
            found = streaming.log_mel(window, stream, start)
            torch.testing.assert_close(found, by_itself(window), rtol=0, atol=TOLERANCE_DB)


def test_what_a_caller_does_to_the_features_stays_with_him() -> None:
    streaming, stream = StreamingLogMel(EXTRACTOR), Stream()
    streaming.log_mel(SOUND[:WINDOW], stream, 0).fill_(7.0)
    window = SOUND[HOP : HOP + WINDOW]
    torch.testing.assert_close(streaming.log_mel(window, stream, HOP), by_itself(window), rtol=0, atol=TOLERANCE_DB)


def test_nothing_is_kept_of_a_stream_that_is_gone() -> None:
    streaming, stream = StreamingLogMel(EXTRACTOR), Stream()
    streaming.log_mel(SOUND[:WINDOW], stream, 0)
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
    assert len(streaming) == 0


@pytest.mark.parametrize(
    ("truncation", "frames", "suits"),
    [("rand_trunc", WINDOW, True), ("rand_trunc", WINDOW - 1, False), ("fusion", WINDOW, False)],
)
def test_only_whole_windows_without_fusion_are_streamed(truncation: str, frames: int, suits: bool) -> None:
    extractor = ClapFeatureExtractor(truncation=truncation, max_length_s=0.5)
    assert StreamingLogMel(extractor).suits(torch.zeros(frames)) is suits


def test_a_window_too_short_to_have_an_inside_is_not_streamed() -> None:
    extractor = ClapFeatureExtractor(truncation="rand_trunc", max_length_s=0.015)
    assert not StreamingLogMel(extractor).suits(torch.from_numpy(np.zeros(720, dtype=np.float32)))
