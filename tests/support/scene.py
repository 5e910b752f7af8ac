"""A scene from the tests' own recordings, with the truth about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

DATA = Path(__file__).parents[1] / "data"
RATE_HZ = 48_000


def write_scene(path: Path, seconds: float, placed: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Write a quiet room with clips starting at the given seconds; returns when each is heard."""
    scene = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ)).astype(np.float32) * 5e-4
    spans = {}
    for name, start in placed.items():
        clip, _ = soundfile.read(DATA / f"{name}.ogg", dtype="float32")
        first = round(start * RATE_HZ)
        scene[first : first + len(clip)] += clip * 0.5 / np.abs(clip).max()
        audible = np.flatnonzero(np.abs(clip) > 0.02 * np.abs(clip).max())
        spans[name] = (start + audible[0] / RATE_HZ, start + audible[-1] / RATE_HZ)
    soundfile.write(path, scene, RATE_HZ)
    return spans
