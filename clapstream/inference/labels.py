"""Makes label sets ready to score: texts are embedded, and scores scaled by the checkpoint's Platt scaling."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.clap.collapse import collapsed_pairs
from clapstream.clap.hub import CheckpointError, CheckpointSource
from clapstream.clap.weights import open_weights
from clapstream.config import LabelSet, ModelSettings
from clapstream.detection.detector import ListenedLabels
from clapstream.detection.rules import event_rules
from clapstream.detection.scorer import PlattScaling, Scorer
from clapstream.inference.embedding_cache import EmbeddingCache
from clapstream.inference.fingerprint import CALIBRATION_NAME, checkpoint_fingerprint
from clapstream.inference.text_embeddings import LabelEmbeddings, embed_label_set, embed_texts

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)


class LabelEmbedder:
    """Embeds the label sets of one checkpoint. For one thread, which need not be the one that embeds windows.

    The text tower is loaded only when the cache in `cache_directory` lacks a text. Raises CheckpointError for a
    checkpoint that cannot be used.
    """

    def __init__(self, model: ModelSettings, cache_directory: Path | None) -> None:
        self._source = CheckpointSource(model.checkpoint, revision=model.revision)
        self._cache_directory = cache_directory
        self._fingerprint = checkpoint_fingerprint(self._source, cache_directory)
        self._cache = EmbeddingCache(cache_directory, self._fingerprint)
        self._logit_scale = _read_logit_scale(self._source)
        self._scaling = _read_platt_scaling(self._source)

    def listened_labels(self, label_set: LabelSet) -> ListenedLabels:
        """The rules and the scorer of a label set; warns of labels that the checkpoint cannot separate."""
        embeddings = self._embed(label_set)
        self._warn_of_collapsed(label_set, embeddings)
        return ListenedLabels(event_rules(label_set), self._scorer(embeddings, self._scaling))

    def scorer(self, label_set: LabelSet, scaling: PlattScaling | None = None) -> Scorer:
        """The scorer of a label set, with the checkpoint's own Platt scaling unless another is given."""
        return self._scorer(self._embed(label_set), scaling or self._scaling)

    def _scorer(self, embeddings: LabelEmbeddings, scaling: PlattScaling) -> Scorer:
        return Scorer(embeddings.prompts, embeddings.background, self._logit_scale, scaling)

    def _embed(self, label_set: LabelSet) -> LabelEmbeddings:
        return embed_label_set(label_set, self._cache, self._embed_texts)

    def _embed_texts(self, texts: Sequence[str]) -> Floats:
        if checkpoint_fingerprint(self._source, self._cache_directory) != self._fingerprint:
            # The audio tower in memory is the old one: texts of another would not lie in its space.
            raise CheckpointError(f"{self._source.name}: the checkpoint has changed on disk; restart to use it")
        return embed_texts(self._source, texts)

    def _warn_of_collapsed(self, label_set: LabelSet, embeddings: LabelEmbeddings) -> None:
        names = [label.name for label in label_set.labels]
        means = np.stack([rows.mean(axis=0) for rows in embeddings.prompts])
        pairs = collapsed_pairs(torch.from_numpy(means), names)
        if pairs:
            first, second, cosine = pairs[0]
            _logger.warning(
                "checkpoint %s cannot separate %d of %d label pairs; the closest are %r and %r (cosine of their "
                "texts %.3f)",
                self._source.name,
                len(pairs),
                math.comb(len(names), 2),
                first,
                second,
                cosine,
            )


def _read_logit_scale(source: CheckpointSource) -> float:
    """The factor of cosines before the softmax; the checkpoint has its logarithm."""
    weights = open_weights(source)
    if "logit_scale_a" not in weights.shapes:
        raise CheckpointError(f"{weights.location}: has no logit_scale_a; it is no whole CLAP")
    return weights.read("logit_scale_a").float().exp().item()


def _read_platt_scaling(source: CheckpointSource) -> PlattScaling:
    path = source.find(CALIBRATION_NAME)
    if path is None:
        return PlattScaling()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return PlattScaling(slope=float(values["slope"]), offset=float(values["offset"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: needs the numbers slope and offset: {error}") from error
