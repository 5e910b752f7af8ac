"""Windows of sound into embeddings by torch, on a CPU or a GPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.audio.position import StreamPosition
from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.cropping import FUSED_VIEWS
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointSource
from clapstream.clap.prepared.onednn import native_bfloat16
from clapstream.clap.streaming import StreamingLogMel
from clapstream.config import ModelSettings
from clapstream.inference.cuda_graphs import CudaGraphRunner, DeviceEmbeddings
from clapstream.inference.embedding_cache import EmbeddingCache
from clapstream.inference.engine import Embeddings
from clapstream.inference.fingerprint import checkpoint_fingerprint
from clapstream.inference.precision import choose_device, choose_precision, probe_cosine

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)
_WINDOWS_AT_ONCE_ON_CPU = 4
"""Larger batches are no faster on a CPU, outgrow its caches and take memory by the source."""


class TorchEngine:
    """A checkpoint's audio tower in the best precision that its device has.

    `cache_directory` keeps what is measured once for a checkpoint. Raises CheckpointError for a checkpoint that
    cannot be used, DeviceError for a device that is not there.
    """

    def __init__(self, model: ModelSettings, cache_directory: Path | None) -> None:
        self.checkpoint = model.checkpoint
        self._source = CheckpointSource(model.checkpoint, revision=model.revision)
        self.device = choose_device(model.device)
        # Features need double precision, which Apple's GPUs lack.
        self._features_device = torch.device("cpu") if self.device.type == "mps" else self.device
        self._extractor = ClapFeatureExtractor.from_source(self._source)
        self._streaming = StreamingLogMel(self._extractor)
        self._tower = self._load_tower()
        self.precision = self._choose_precision(model.precision, cache_directory)
        self._graphs = self._record_graphs() if self.device.type == "cuda" else None

    @property
    def runs_on(self) -> str:
        """Device and precision, for people: `cpu bfloat16`."""
        return f"{self.device} {str(self.precision).removeprefix('torch.')}"

    @property
    def segment_spans(self) -> Sequence[tuple[float, float]]:
        """Start and end in seconds of each segment of a whole window."""
        return self._tower.segment_spans(self._extractor.max_length_s)

    @torch.inference_mode()
    def warm_up(self, sources: int) -> None:
        """Run batches of every size that `sources` sources may ask for.

        The first of each size keeps some 8 MB (kernels compiled for its shapes, the attention's bias): taken now,
        they do not look like a leak when sources first coincide, hours later, and no window waits for them.
        """
        if self._graphs is None:
            silence = self.features([np.zeros(self._extractor.nb_max_samples, np.float32)]).to(self.device)
            for size in range(1, min(sources, _WINDOWS_AT_ONCE_ON_CPU) + 1):
                self._embed_batch(silence.expand(size, -1, -1, -1))

    @torch.inference_mode()
    def embed(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Embeddings:
        """Embed mono 48 kHz samples `(samples,)`, each at most as long as the model's window (10 s).

        A shorter one is repeat-padded, as CLAP does. With `positions`, what an earlier window of the same stream
        had is not computed again.
        """
        if self._graphs is not None:
            return self._graphs(windows)
        features = self.features(windows, positions).to(self.device)
        at_once = _WINDOWS_AT_ONCE_ON_CPU if self.device.type == "cpu" else len(windows)
        batches = [self._embed_batch(batch) for batch in torch.split(features, at_once)]
        return DeviceEmbeddings.joined(batches).to_host()

    def features(
        self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None
    ) -> torch.Tensor:
        """Log-mel `(windows, views, frames, mels)` in dB."""
        if positions is None or self.device.type != "cpu":
            return self._features_of_whole(windows)
        rows = []
        for window, position in zip(windows, positions, strict=True):
            samples = torch.from_numpy(window)
            if self._streaming.suits(samples):
                frames = self._streaming.log_mel(samples, position.stream, position.first_sample)
                rows.append(frames[None, None])
            else:
                rows.append(self._features_of_whole([window]))
        return torch.cat(rows)

    def _load_tower(self) -> ClapAudioModelWithProjection:
        tower = ClapAudioModelWithProjection.from_pretrained(self._source.name, revision=self._source.revision)
        return tower.to(self.device)

    def _choose_precision(self, wanted: str, cache_directory: Path | None) -> torch.dtype:
        """Bring the tower into a precision that suits the device, prepared for inference."""
        cache = EmbeddingCache(cache_directory, checkpoint_fingerprint(self._source, cache_directory), "probe")
        probe = functools.partial(probe_cosine, self._tower, self._extractor, cache)
        precision = choose_precision(wanted, native_bfloat16(self.device), probe)
        if precision == torch.float32 != self._tower.dtype:  # the probe failed: its rounding cannot be undone
            self._tower = self._load_tower()
        self._tower.to(precision).prepare_for_inference()
        return precision

    def _record_graphs(self) -> CudaGraphRunner | None:
        """CUDA graphs, None where they cannot be recorded: without them batches are slower and just as right."""
        try:
            with torch.inference_mode():
                return CudaGraphRunner(self._embed_sounds, self._extractor.nb_max_samples, self.device)
        except RuntimeError as error:
            _logger.warning("CUDA graphs are off, each batch takes longer: %s", error)
            return None

    def _embed_sounds(self, sounds: torch.Tensor) -> DeviceEmbeddings:
        """Whole windows `(batch, samples)` on the device to embeddings there."""
        views = FUSED_VIEWS if self._extractor.truncation == "fusion" else 1
        return self._embed_batch(self._extractor.log_mel(sounds).unsqueeze(1).expand(-1, views, -1, -1))

    def _embed_batch(self, features: torch.Tensor) -> DeviceEmbeddings:
        # No window is longer than the model's, so a fused checkpoint need not even ask which are (and wait for it).
        return DeviceEmbeddings(*self._tower.embed_audio(features, is_longer=None))

    def _features_of_whole(self, windows: Sequence[Floats]) -> torch.Tensor:
        batch = self._extractor(
            list(windows),
            padding="repeatpad",
            sampling_rate=RATE_HZ,
            return_tensors="pt",
            device=self._features_device,
            seed=0,
        )
        features: torch.Tensor = batch["input_features"]
        return features
