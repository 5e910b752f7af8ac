"""From sound to embeddings on a GPU: one upload for each batch, and all that follows is one CUDA graph.

A tower of small kernels keeps the processor busier with launching them than the GPU with running them. A CUDA graph
is launched once for all; it is made for one batch size, so there is one for each of a few sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.inference.engine import Embeddings

Floats = NDArray[np.float32]

BATCH_SIZES = (64, 32, 16, 8, 4, 2, 1)
"""The largest first: the memory that its graph works in serves the others too."""

WARM_UP_RUNS = 3
"""Before a graph is recorded: libraries choose their kernels and make their work spaces at the first runs."""


class DeviceEmbeddings(NamedTuple):
    """Embeddings on the device: `windows` `(batch, dim)`, and `segments` `(batch, segments, dim)` or None."""

    windows: Tensor
    segments: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence[DeviceEmbeddings]) -> DeviceEmbeddings:
        """The rows of all parts, one after the other."""
        segments = [part.segments for part in parts if part.segments is not None]
        return cls(torch.cat([part.windows for part in parts]), torch.cat(segments) if segments else None)

    def to_host(self, rows: int | None = None) -> Embeddings:
        """The first `rows` (None: all) as arrays of their own; waits for the device."""
        arrays = [
            None if part is None else part[:rows].to("cpu", copy=True).numpy()
            for part in (self.windows, self.segments)
        ]
        assert arrays[0] is not None
        return Embeddings(arrays[0], arrays[1])


EmbedSounds = Callable[[Tensor], DeviceEmbeddings]
"""Sounds `(batch, samples)` on the device -> embeddings on the device, without waiting for it."""


class Recorded(NamedTuple):
    """`replay` makes `embeddings`, always in the same memory, of the sounds it was recorded with."""

    embeddings: DeviceEmbeddings
    replay: Callable[[], None]


Record = Callable[[EmbedSounds, Tensor], Recorded]


class CudaGraphRunner:
    """Embeds windows in batches of fixed sizes; everything is recorded when this is made.

    The last rows of a batch that is not full are left over from an earlier one, and nobody reads them.
    """

    def __init__(
        self,
        embed: EmbedSounds,
        samples: int,
        device: torch.device,
        record: Record | None = None,
        sizes: Sequence[int] = BATCH_SIZES,
    ) -> None:
        """Take windows of so many samples; `record` makes CUDA graphs unless another is given."""
        largest = max(sizes)
        self._upload = torch.zeros(largest, samples, pin_memory=device.type == "cuda")
        self._sounds = torch.zeros(largest, samples, device=device)
        record = record or GraphRecorder(device)
        self._recorded = {size: record(embed, self._sounds[:size]) for size in sorted(sizes, reverse=True)}

    def __call__(self, windows: Sequence[Floats]) -> Embeddings:
        """Embeddings of windows `(samples,)`; shorter ones are repeat-padded, as CLAP does."""
        parts = [self._embed(part) for part in self._parts(windows)]
        segments = [part.segments for part in parts if part.segments is not None]
        return Embeddings(
            np.concatenate([part.windows for part in parts]), np.concatenate(segments) if segments else None
        )

    def _parts(self, windows: Sequence[Floats]) -> Iterator[Sequence[Floats]]:
        largest = max(self._recorded)
        for first in range(0, len(windows), largest):
            yield windows[first : first + largest]

    def _embed(self, windows: Sequence[Floats]) -> Embeddings:
        size = min(size for size in self._recorded if size >= len(windows))
        for row, window in zip(self._upload.numpy(), windows, strict=False):
            repeat_pad(window, row)
        self._sounds[:size].copy_(self._upload[:size], non_blocking=True)
        embeddings, replay = self._recorded[size]
        replay()
        return embeddings.to_host(len(windows))


class GraphRecorder:
    """Records CUDA graphs that share their memory: they never run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, embed: EmbedSounds, sounds: Tensor) -> Recorded:
        """A graph of `embed` on `sounds`."""
        with torch.cuda.device(self._device):
            own = torch.cuda.current_stream()
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(own)
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP_RUNS):
                    embed(sounds)
            own.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                embeddings = embed(sounds)
        return Recorded(embeddings, graph.replay)


def repeat_pad(window: Floats, row: Floats) -> None:
    """Fill a row `(samples,)` as `repeatpad` does: the whole window as often as it fits, then silence."""
    samples = min(len(window), len(row))
    whole = len(row) // samples
    row[: whole * samples].reshape(whole, samples)[:] = window[:samples]
    row[whole * samples :] = 0.0
