"""The model as the daemon runs it; no other module here but `listening` depends on the daemon's own modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.config import LabelSet, ModelSettings
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine

Floats = NDArray[np.float32]


class Model:
    """A checkpoint with the embeddings of a label set. Raises CheckpointError for one that cannot be used."""

    def __init__(self, settings: ModelSettings, labels: LabelSet, cache_directory: Path | None) -> None:
        self.engine = TorchEngine(settings, cache_directory)
        self.labels = LabelEmbedder(settings, cache_directory).listened_labels(labels)

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Floats:
        """Scores 0..1 `(windows, labels)` of mono 48 kHz windows `(samples,)`, which lie at `positions`."""
        return WindowScorer(self.engine, self.labels).score(windows, positions)


def load_embedder(settings: ModelSettings) -> Callable[[Sequence[Floats]], Floats]:
    """A function from mono 48 kHz windows `(samples,)` to embeddings `(windows, dim)`."""
    engine = TorchEngine(settings, None)
    return lambda windows: engine.embed(windows).windows
