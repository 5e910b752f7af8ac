"""From sound to embeddings on a GPU: one upload for each batch, and all that follows replayed as one CUDA graph.

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

Floats = NDArray[np.float32]

BATCH_SIZES = (64, 32, 16, 8, 4, 2, 1)
"""The largest first: the memory that its graph works in serves the others too."""

WARM_UP_RUNS = 3
"""Before a graph is recorded: libraries choose their kernels and make their work spaces at the first runs."""

EmbedSounds = Callable[[Tensor], Tensor]
"""Sounds `(batch, frames)` on the device -> embeddings `(batch, dim)` on the device, without waiting for it."""


class Recorded(NamedTuple):
    """`replay` makes `embeddings` `(batch, dim)`, always the same memory, of the sounds it was recorded with."""

    embeddings: Tensor
    replay: Callable[[], None]


Record = Callable[[EmbedSounds, Tensor], Recorded]


class DeviceBatches:
    """Embeds windows in batches of fixed sizes; everything is recorded when this is made.

    The last rows of a batch that is not full are left over from an earlier one, and nobody reads them.
    """

    def __init__(
        self,
        embed: EmbedSounds,
        frames: int,
        device: torch.device,
        record: Record | None = None,
        sizes: Sequence[int] = BATCH_SIZES,
    ) -> None:
        """Take sounds of so many frames; `record` makes CUDA graphs unless another is given."""
        largest = max(sizes)
        self._upload = torch.zeros(largest, frames, pin_memory=device.type == "cuda")
        self._sounds = torch.zeros(largest, frames, device=device)
        record = record or GraphRecorder(device)
        self._recorded = {size: record(embed, self._sounds[:size]) for size in sorted(sizes, reverse=True)}

    def __call__(self, windows: Sequence[Floats]) -> Floats:
        """Embeddings `(windows, dim)` of windows `(frames,)`; shorter ones are repeat-padded, as CLAP does."""
        return np.concatenate([self._embed(part) for part in self._parts(windows)])

    def _parts(self, windows: Sequence[Floats]) -> Iterator[Sequence[Floats]]:
        largest = max(self._recorded)
        for first in range(0, len(windows), largest):
            yield windows[first : first + largest]

    def _embed(self, windows: Sequence[Floats]) -> Floats:
        size = min(size for size in self._recorded if size >= len(windows))
        for row, window in zip(self._upload.numpy(), windows, strict=False):
            repeat_pad(window, row)
        self._sounds[:size].copy_(self._upload[:size], non_blocking=True)
        embeddings, replay = self._recorded[size]
        replay()
        found: Floats = embeddings[: len(windows)].to("cpu", copy=True).numpy()  # the one wait for the device
        return found


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
    """Fill a row `(frames,)` as the extractor's `repeatpad`: the window whole as often as it fits, then silence."""
    frames = min(len(window), len(row))
    whole = len(row) // frames
    row[: whole * frames].reshape(whole, frames)[:] = window[:frames]
    row[whole * frames :] = 0.0
