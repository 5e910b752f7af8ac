"""Every phrase of every class and label, and its embedding in the space that sounds and texts share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training import paths
from training.sentence_encoder import teacher_embeddings
from training.text_space import Meaning, TextSpace
from training.texts import class_phrases, label_phrases
from training.yamnet import class_names

MEANT = 0.5
"""Share of steps that use the embeddings that the text tower will have, see `text_space.Meaning`."""


class Vocabulary:
    """Embeddings of every phrase of every class and label, with and without template."""

    def __init__(self) -> None:
        self.labels = sorted(label_phrases())
        self.classes = class_names()
        listed = [class_phrases()[name] for name in self.classes] + [label_phrases()[name] for name in self.labels]
        texts: list[str] = []
        self._spans: list[tuple[int, int]] = []
        for phrases in listed:
            first = len(texts)
            for phrase in phrases:
                texts += [phrase, f"This is a sound of {phrase}.", f"the sound of {phrase}"]
            self._spans.append((first, len(texts)))
        self.texts = texts
        vectors = phrase_vectors(texts)
        self.space = TextSpace(vectors)
        self.embeddings = self.space(vectors)
        self.meaning = Meaning(self.embeddings, self._spans)
        self.meant = self.meaning(self.embeddings)

    def draw(self, random: np.random.Generator) -> Tensor:
        """Embeddings `(classes + labels, 512)` of one random phrase each: plain, or as the text tower has them.

        The first kind keeps a class from being one point; the second is what a label will be compared by.
        """
        embeddings = self.meant if random.random() < MEANT else self.embeddings
        return embeddings[[int(random.integers(first, last)) for first, last in self._spans]]


def phrase_vectors(texts: list[str]) -> Tensor:
    """The sentence encoder's unit vectors `(texts, 384)`; computed once."""
    path = paths.cache() / "phrase_targets.pt"
    if path.exists():
        stored, found = torch.load(path)
        if stored == texts:
            known: Tensor = found
            return known
    found = teacher_embeddings(texts).float()
    torch.save((texts, found), path)
    return found
