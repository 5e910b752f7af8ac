"""Labels in plain words into unit-length text embeddings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.clap.hub import CheckpointSource
from clapstream.config import LabelSet, LabelSettings
from clapstream.inference.embedding_cache import EmbeddingCache, EmbedTexts

Floats = NDArray[np.float32]

TEMPLATES = ("This is a sound of {}.", "The sound of {}.", "{}")
"""A bare label name is put into each of these and the embeddings are averaged (zero-shot prompt ensembling)."""

_TEXTS_AT_ONCE = 64

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelEmbeddings:
    """Per label `(prompts, dim)` and for the background `(prompts, dim)`, all rows of unit length."""

    prompts: tuple[Floats, ...]
    background: Floats


def prompt_texts(label: LabelSettings) -> list[tuple[str, ...]]:
    """The texts of each prompt of a label: the user's own as written, a bare name in every template."""
    if label.prompts:
        return [(prompt,) for prompt in label.prompts]
    return [tuple(template.format(label.name) for template in TEMPLATES)]


def embed_label_set(label_set: LabelSet, cache: EmbeddingCache, embed: EmbedTexts) -> LabelEmbeddings:
    """Embed all prompts of a label set, calling `embed` at most once and only for texts the cache lacks."""
    groups = [prompt_texts(label) for label in label_set.labels]
    background: list[tuple[str, ...]] = [(text,) for text in label_set.background]
    texts = [text for group in [*groups, background] for prompt in group for text in prompt]
    known = cache.embeddings(texts, embed)

    def rows(group: Sequence[tuple[str, ...]]) -> Floats:
        return np.stack([_unit(np.mean([known[text] for text in prompt], axis=0)) for prompt in group])

    return LabelEmbeddings(tuple(rows(group) for group in groups), rows(background))


def embed_texts(source: CheckpointSource, texts: Sequence[str]) -> Floats:
    """Unit-length embeddings `(texts, dim)` by the text tower, which is loaded for it and dropped again.

    Raises CheckpointError for a checkpoint without a usable text tower.
    """
    # Most starts find every text in the cache and need neither.
    from clapstream.clap.text import ClapTextModelWithProjection
    from clapstream.clap.tokenizer import ClapTokenizer

    _logger.info("embedding %d texts with the text tower of %s", len(texts), source.name)
    tokenizer = ClapTokenizer.from_source(source)
    tower = ClapTextModelWithProjection.from_pretrained(source.name, revision=source.revision)
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


def _unit(row: Floats) -> Floats:
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-12), dtype=np.float32)
