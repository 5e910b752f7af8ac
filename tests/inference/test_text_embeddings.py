"""Labels into embeddings, and the cache that saves running the text tower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clapstream.config import LabelSet, LabelSettings
from clapstream.inference.embedding_cache import EmbeddingCache
from clapstream.inference.text_embeddings import TEMPLATES, embed_label_set, prompt_texts

DIM = 8


class CountingEmbedder:
    """Embeds a text as a random direction of its own, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked.append(list(texts))
        rows = np.stack([np.random.default_rng(list(text.encode())).standard_normal(DIM) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


LABELS = LabelSet(
    labels=(
        LabelSettings(name="dog barking"),
        LabelSettings(name="doorbell", prompts=("a doorbell rings", "ding dong")),
    ),
    background=("a quiet room", "wind"),
)


def test_a_bare_name_is_spoken_of_in_every_template_and_prompts_are_taken_as_written() -> None:
    bare, prompted = (prompt_texts(label) for label in LABELS.labels)
    assert bare == [tuple(template.format("dog barking") for template in TEMPLATES)]
    assert prompted == [("a doorbell rings",), ("ding dong",)]


def test_embeddings_are_of_unit_length_and_the_tower_runs_once() -> None:
    embed = CountingEmbedder()
    embeddings = embed_label_set(LABELS, EmbeddingCache(None, "f"), embed)
    assert [rows.shape for rows in embeddings.prompts] == [(1, DIM), (2, DIM)]
    assert embeddings.background.shape == (2, DIM)
    for rows in (*embeddings.prompts, embeddings.background):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    assert len(embed.asked) == 1


def test_a_second_start_does_not_run_the_tower(tmp_path: Path) -> None:
    first = embed_label_set(LABELS, EmbeddingCache(tmp_path, "f"), CountingEmbedder())
    again = CountingEmbedder()
    second = embed_label_set(LABELS, EmbeddingCache(tmp_path, "f"), again)
    assert again.asked == []
    for before, after in zip(first.prompts, second.prompts, strict=True):
        np.testing.assert_array_equal(before, after)


def test_only_new_texts_are_embedded_and_another_checkpoint_starts_anew(tmp_path: Path) -> None:
    embed_label_set(LABELS, EmbeddingCache(tmp_path, "f"), CountingEmbedder())
    more = LABELS.model_copy(update={"background": (*LABELS.background, "rain")})
    embed = CountingEmbedder()
    embed_label_set(more, EmbeddingCache(tmp_path, "f"), embed)
    assert embed.asked == [["rain"]]
    other = CountingEmbedder()
    embed_label_set(LABELS, EmbeddingCache(tmp_path, "g"), other)
    assert len(other.asked[0]) == 7


def test_a_damaged_cache_is_reported_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embed_label_set(LABELS, EmbeddingCache(tmp_path, "f"), CountingEmbedder())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:20])
    embed = CountingEmbedder()
    embed_label_set(LABELS, EmbeddingCache(tmp_path, "f"), embed)
    assert len(embed.asked) == 1
    assert str(path) in caplog.text
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_cache_is_complained_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cache = EmbeddingCache(blocked, "f")
    assert embed_label_set(LABELS, cache, CountingEmbedder()).background.shape == (2, DIM)
    more = LABELS.model_copy(update={"background": (*LABELS.background, "rain on a roof")})
    assert embed_label_set(more, cache, CountingEmbedder()).background.shape == (3, DIM)
    assert caplog.text.count("cannot write") == 1


def test_kinds_of_embeddings_do_not_mix(tmp_path: Path) -> None:
    made: list[int] = []

    def embed() -> NDArray[np.float32]:
        made.append(1)
        return np.full(DIM, len(made), dtype=np.float32)

    for _ in range(2):
        texts = EmbeddingCache(tmp_path, "f").embeddings(["probe"], CountingEmbedder())
        cache = EmbeddingCache(tmp_path, "f", "probe")
        np.testing.assert_array_equal(cache.embedding("probe", embed), np.ones(DIM))
        assert not np.array_equal(texts["probe"], np.ones(DIM))
    assert made == [1]
    np.testing.assert_array_equal(cache.embedding("another", embed), np.full(DIM, 2))
