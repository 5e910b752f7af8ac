"""The interface of every engine: windows of sound in, embeddings out, on one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Unit-length embeddings of a batch of windows, in the space of the texts.

    `windows` is `(batch, dim)`. `segments` is `(batch, segments, dim)`, in the order of time, all equally
    long, or None where the engine has none.
    """

    windows: Floats
    segments: Floats | None = None


class Engine(Protocol):
    """Embeds windows of sound: `TorchEngine` on a CPU or a GPU. Made and used on the worker's thread alone."""

    @property
    def checkpoint(self) -> str:
        """The checkpoint, as the configuration names it."""

    @property
    def runs_on(self) -> str:
        """Device and precision, for people: `cpu bfloat16`."""

    @property
    def segment_spans(self) -> Sequence[tuple[float, float]]:
        """Start and end in seconds of each segment of a whole window; empty where the engine has no segments."""

    def embed(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Embeddings:
        """Embed mono 48 kHz samples `(samples,)`, each at most as long as the model's window.

        With `positions`, what an earlier window of the same stream had need not be computed again.
        """
