"""Levels by band: what a tone, a click and silence read, against arithmetic of their own."""

from __future__ import annotations

import numpy as np
import pytest

from clapstream.audio.block import RATE_HZ
from clapstream.audio.level import level_dbfs
from clapstream.detection.band_levels import BANDS, FLOOR_DBFS, STRETCH_SAMPLES, band_levels

SPAN = 5 * RATE_HZ // 2


def tone(hertz: float, peak: float = 1.0, samples: int = SPAN) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz / RATE_HZ * np.arange(samples))).astype(np.float32)


def noise(peak: float = 0.01, samples: int = SPAN, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples, dtype=np.float32) * np.float32(peak)


@pytest.mark.parametrize("hertz", [100.0, 440.0, 1000.0, 3000.0, 9000.0])
@pytest.mark.parametrize("peak", [1.0, 0.01])
def test_a_tone_reads_its_level_in_one_band_and_far_less_elsewhere(hertz: float, peak: float) -> None:
    loudest, mean = band_levels(tone(hertz, peak))
    expected = level_dbfs(tone(hertz, peak))
    for levels in (loudest, mean):
        # A tone near the edge of a band shares itself out between two.
        assert 10 * np.log10(np.sum(10 ** (levels / 10))) == pytest.approx(expected, abs=0.5)
        far = np.delete(levels, range(max(0, levels.argmax() - 2), levels.argmax() + 3))
        assert far.max() < expected - 45


def test_bands_together_hold_what_the_model_hears_of_noise() -> None:
    _, mean = band_levels(noise())
    share = (14_000 - 50) / (RATE_HZ / 2)
    assert 10 * np.log10(np.sum(10 ** (mean / 10))) == pytest.approx(-40 + 10 * np.log10(share), abs=0.2)


def test_silence_is_the_floor_everywhere() -> None:
    np.testing.assert_allclose(band_levels(np.zeros(SPAN, dtype=np.float32)), FLOOR_DBFS, atol=1e-3)
    assert band_levels(np.zeros(STRETCH_SAMPLES, dtype=np.float32)).shape == (2, BANDS)


def test_a_click_shows_wherever_it_lies_and_a_faint_hum_in_its_band() -> None:
    quiet = band_levels(noise())
    for at in range(STRETCH_SAMPLES, SPAN - STRETCH_SAMPLES, 20_011):
        clicking = noise()
        clicking[at : at + 480] += noise(0.1, 480, seed=1)
        loudest, mean = band_levels(clicking) - quiet
        assert loudest.max() > 6
        assert mean.max() < 3
    _, mean = band_levels(noise() + tone(1000.0, 0.002)) - quiet
    assert level_dbfs(noise() + tone(1000.0, 0.002)) == pytest.approx(level_dbfs(noise()), abs=0.1)
    assert mean.max() > 4
    assert np.sort(mean)[-2] < 0.1


def test_less_than_a_stretch_is_refused() -> None:
    with pytest.raises(ValueError, match="2047 samples are less than a stretch"):
        band_levels(np.zeros(STRETCH_SAMPLES - 1, dtype=np.float32))
