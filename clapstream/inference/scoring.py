"""Engine and labels in one, for callers that score windows without a thread or a stream: commands and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.detection.detector import ListenedLabels
from clapstream.inference.engine import Engine

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowScorer:
    """Scores windows of sound against labels."""

    engine: Engine
    labels: ListenedLabels

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Floats:
        """Scores 0..1 `(windows, labels)` of mono 48 kHz samples `(samples,)` each; see `Engine.embed`."""
        return self.labels.scorer.score(self.engine.embed(windows, positions).windows)
