"""The model side of detection: windows of sound in, a score per label out."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.audio.position import StreamPosition
from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.collapse import collapsed_pairs
from clapstream.clap.cropping import FUSED_VIEWS
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError, CheckpointSource
from clapstream.clap.streaming import StreamingLogMel
from clapstream.clap.weights import open_weights
from clapstream.config import LabelSet, ModelSettings
from clapstream.detection.scorer import Calibration, Scorer
from clapstream.inference.cuda_graphs import DeviceBatches
from clapstream.inference.precision import choose_device, choose_precision, has_bf16, probe_cosine
from clapstream.inference.text_embeddings import EmbeddingCache, embed_label_set

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)
_TEXTS_AT_ONCE = 64
_WINDOWS_AT_ONCE_ON_CPU = 4
"""Larger batches are no faster on a CPU, outgrow its caches and take memory by the source."""
CALIBRATION_NAME = "calibration.json"


class Detector:
    """A checkpoint's audio tower with the embeddings of one label set.

    The text tower is loaded only when the cache in `cache_directory` lacks a text, and dropped again afterwards.
    Raises CheckpointError for a checkpoint that cannot be used.
    """

    def __init__(self, model: ModelSettings, label_set: LabelSet, cache_directory: Path | None) -> None:
        self.checkpoint = model.checkpoint
        self._source = CheckpointSource(model.checkpoint, revision=model.revision)
        self.device = choose_device(model.device)
        # Features need double precision, which Apple's GPUs lack.
        self._features_device = torch.device("cpu") if self.device.type == "mps" else self.device
        self._extractor = ClapFeatureExtractor.from_source(self._source)
        self._streaming = StreamingLogMel(self._extractor)
        self._tower = self._load_tower()
        self._logit_scale = _read_logit_scale(self._source)
        self._calibration = _read_calibration(self._source)
        self._cache = EmbeddingCache(cache_directory, _fingerprint(self._source))
        self.relabel(label_set)
        probe = functools.partial(probe_cosine, self._tower, self._extractor, self._cache)
        self.precision = choose_precision(model.precision, has_bf16(self.device), probe)
        if self.precision == torch.float32 != self._tower.dtype:  # the probe failed: its rounding cannot be undone
            self._tower = self._load_tower()
        self._tower.to(self.precision).prepare_for_inference()
        self._device_batches = self._record_batches() if self.device.type == "cuda" else None

    def _record_batches(self) -> DeviceBatches | None:
        """The way for GPUs, None where it cannot be recorded: the general one is slower and does as well."""
        try:
            with torch.inference_mode():
                return DeviceBatches(self._embed_sounds, self._extractor.nb_max_samples, self.device)
        except RuntimeError as error:
            _logger.warning("CUDA graphs are off, each batch takes longer: %s", error)
            return None

    def _load_tower(self) -> ClapAudioModelWithProjection:
        tower = ClapAudioModelWithProjection.from_pretrained(self._source.name, revision=self._source.revision)
        return tower.to(self.device)

    @torch.inference_mode()
    def warm_up(self, sources: int) -> None:
        """Run batches of every size that `sources` sources may ask for.

        The first of each size keeps some 8 MB (kernels compiled for its shapes, the attention's bias): taken now,
        they do not look like a leak when sources first coincide, hours later, and no window waits for them.
        """
        if self._device_batches is None:
            silence = self.features([np.zeros(self._extractor.nb_max_samples, np.float32)]).to(self.device)
            for size in range(1, min(sources, _WINDOWS_AT_ONCE_ON_CPU) + 1):
                self._embed_batch(silence.expand(size, -1, -1, -1))

    def relabel(self, label_set: LabelSet) -> None:
        """Score against another label set from now on; on an error the old one stays."""
        embeddings = embed_label_set(label_set, self._cache, self._embed_texts)
        names = [label.name for label in label_set.labels]
        means = np.stack([rows.mean(axis=0) for rows in embeddings.prompts])
        pairs = collapsed_pairs(torch.from_numpy(means), names)
        if pairs:
            first, second, cosine = pairs[0]
            _logger.warning(
                "checkpoint %s hardly tells %d of %d pairs of labels apart; the worst are %r and %r (cosine of "
                "their texts %.3f)",
                self.checkpoint,
                len(pairs),
                math.comb(len(names), 2),
                first,
                second,
                cosine,
            )
        self._scorer = Scorer(embeddings.prompts, embeddings.background, self._logit_scale, self._calibration)

    @torch.inference_mode()
    def embed(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Floats:
        """Unit-length embeddings `(windows, dim)` of mono 48 kHz samples `(frames,)`, each at most 10 s long.

        A window shorter than the model's is repeat-padded, as CLAP does. With `positions`, what an earlier window
        of the same stream had is not computed again.
        """
        if self._device_batches is not None:
            return self._device_batches(windows)
        features = self.features(windows, positions).to(self.device)
        at_once = _WINDOWS_AT_ONCE_ON_CPU if self.device.type == "cpu" else len(windows)
        rows = [self._embed_batch(batch) for batch in torch.split(features, at_once)]
        embeddings: Floats = torch.cat(rows).cpu().numpy()
        return embeddings

    def _embed_sounds(self, sounds: torch.Tensor) -> torch.Tensor:
        """Whole windows `(batch, frames)` on the device to unit-length embeddings `(batch, dim)` there."""
        views = FUSED_VIEWS if self._extractor.truncation == "fusion" else 1
        return self._embed_batch(self._extractor.log_mel(sounds).unsqueeze(1).expand(-1, views, -1, -1))

    def _embed_batch(self, features: torch.Tensor) -> torch.Tensor:
        # No window is longer than the model's, so a fused checkpoint need not even ask which are (and wait for it).
        output = self._tower(input_features=features, is_longer=None)
        return torch.nn.functional.normalize(output.audio_embeds.float(), dim=-1)

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Floats:
        """Scores 0..1 `(windows, labels)`."""
        return self._scorer.score(self.embed(windows, positions))

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

    def _embed_texts(self, texts: Sequence[str]) -> Floats:
        # Most starts find every text in the cache and need neither.
        from clapstream.clap.text import ClapTextModelWithProjection
        from clapstream.clap.tokenizer import ClapTokenizer

        _logger.info("embedding %d texts with the text tower of %s", len(texts), self.checkpoint)
        tokenizer = ClapTokenizer.from_source(self._source)
        tower = ClapTextModelWithProjection.from_pretrained(self.checkpoint, revision=self._source.revision)
        tower.prepare_for_inference()
        rows = []
        with torch.inference_mode():
            for first in range(0, len(texts), _TEXTS_AT_ONCE):
                batch = tokenizer(
                    list(texts[first : first + _TEXTS_AT_ONCE]), padding=True, truncation=True, return_tensors="pt"
                )
                embeddings = tower(**batch).text_embeds
                rows.append(torch.nn.functional.normalize(embeddings.float(), dim=-1).numpy())
        return np.concatenate(rows)


def _read_logit_scale(source: CheckpointSource) -> float:
    """What cosines are multiplied by before the softmax; the checkpoint has its logarithm."""
    weights = open_weights(source)
    if "logit_scale_a" not in weights.shapes:
        raise CheckpointError(f"{weights.location}: has no logit_scale_a; it is no whole CLAP")
    return weights.read("logit_scale_a").float().exp().item()


def _read_calibration(source: CheckpointSource) -> Calibration:
    path = source.find(CALIBRATION_NAME)
    if path is None:
        return Calibration()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Calibration(slope=float(values["slope"]), offset=float(values["offset"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: needs the numbers slope and offset: {error}") from error


def _fingerprint(source: CheckpointSource) -> str:
    """What tells checkpoints apart without reading them whole: their settings, and size and age of the weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "vocab.json", "merges.txt"):
        path = source.find(name)
        digest.update(b"-" if path is None else path.read_bytes())
    weights = open_weights(source).location.stat()
    digest.update(f"{weights.st_size} {weights.st_mtime_ns}".encode())
    return digest.hexdigest()
