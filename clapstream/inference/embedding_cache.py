"""Embeddings of one checkpoint that are worth keeping on disk, so that a start need not compute them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from clapstream.inference.cache_files import report_unreadable, write_cache_file

Floats = NDArray[np.float32]
EmbedTexts = Callable[[Sequence[str]], Floats]
"""Texts -> unit-length embeddings `(texts, dim)`; loads the text tower when it is called."""


class EmbeddingCache:
    """Embeddings by text, in one safetensors file under `directory` (None: memory only); for one thread.

    `kind` tells caches apart that different threads write. A cache that cannot be read or written costs time, never
    the run.
    """

    def __init__(self, directory: Path | None, fingerprint: str, kind: str = "text") -> None:
        self._path = None if directory is None else directory / f"{kind}-embeddings-{fingerprint[:32]}.safetensors"
        self._known: dict[str, Floats] | None = None

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

    def embedding(self, name: str, embed: Callable[[], Floats]) -> Floats:
        """The embedding `(dim,)` known by a name; `embed` is called if it is missing."""
        return self.embeddings([name], lambda _: embed()[None])[name]

    def _read(self) -> dict[str, Floats]:
        if self._path is None or not self._path.is_file():
            return {}
        try:
            return dict(load_file(self._path))
        except (OSError, SafetensorError) as error:
            report_unreadable(self._path, error)
            return {}

    def _write(self) -> None:
        if self._path is not None and self._known is not None:
            write_cache_file(self._path, save(self._known))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
