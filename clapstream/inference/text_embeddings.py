"""Labels in plain words into unit-length text embeddings, kept on disk so that the text tower rarely runs."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clapstream.config import LabelSet, LabelSettings

Floats = NDArray[np.float32]
EmbedTexts = Callable[[Sequence[str]], Floats]
"""Texts -> unit-length embeddings `(texts, dim)`; loads the text tower when it is called."""

TEMPLATES = ("This is a sound of {}.", "The sound of {}.", "{}")
"""A bare label name is spoken of in these ways and the embeddings are averaged (zero-shot prompt ensembling)."""

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


class EmbeddingCache:
    """Text embeddings of one checkpoint, by text, in one safetensors file under `directory` (None: memory only).

    A cache that cannot be read or written costs time, never the run: it is said once and done without.
    """

    def __init__(self, directory: Path | None, fingerprint: str) -> None:
        self._path = None if directory is None else directory / f"text-embeddings-{fingerprint[:32]}.safetensors"
        self._known: dict[str, Floats] | None = None
        self._unwritable = False

    def embeddings(self, texts: Sequence[str], embed: EmbedTexts) -> dict[str, Floats]:
        """Unit-length embeddings `(dim,)` by text; `embed` is called once, for the texts that are missing."""
        if self._known is None:
            self._known = self._read()
        missing = [text for text in dict.fromkeys(texts) if _key(text) not in self._known]
        if missing:
            for text, row in zip(missing, embed(missing), strict=True):
                self._known[_key(text)] = np.ascontiguousarray(row, dtype=np.float32)
            self._write()
        return {text: self._known[_key(text)] for text in texts}

    def sound(self, name: str, embed: Callable[[], Floats]) -> Floats:
        """Embedding `(dim,)` of a sound that is always the same, by name; `embed` is called if it is missing."""
        text = f"\0{name}"  # no user's text begins so
        return self.embeddings([text], lambda _: embed()[None])[text]

    def _read(self) -> dict[str, Floats]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            return dict(load_file(self._path))
        except (OSError, SafetensorError) as error:
            _logger.warning("label embedding cache %s cannot be read (%s): embedding anew", self._path, error)
            return {}

    def _write(self) -> None:
        if self._path is None or self._known is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)
            os.close(handle)
            try:
                save_file(self._known, name)
                Path(name).replace(self._path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    Path(name).unlink()
        except (OSError, SafetensorError) as error:
            if not self._unwritable:  # each reload with new texts tries again
                _logger.warning(
                    "label embedding cache %s cannot be written (%s): going on without", self._path, error
                )
            self._unwritable = True
        else:
            self._unwritable = False


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _unit(row: Floats) -> Floats:
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-12), dtype=np.float32)
