"""Levels against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from clapstream.audio.level import FLOOR_DBFS, level_dbfs

SINE = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.ones(1000), 0.0),
        (-np.ones(1000), 0.0),
        (SINE, -3.0103),
        (SINE * 0.1, -23.0103),
        (np.full(10, 1e-5), -100.0),
        (np.full(10, 1e-7), FLOOR_DBFS),
        (np.full(10, 1e-30), FLOOR_DBFS),
        (np.zeros(10), FLOOR_DBFS),
        (np.zeros(0), FLOOR_DBFS),
    ],
)
def test_level(samples: np.ndarray, expected: float) -> None:
    assert level_dbfs(samples.astype(np.float32)) == pytest.approx(expected, abs=1e-3)
