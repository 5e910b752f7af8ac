"""The texts that the text tower is distilled on, and the sentence encoder's embeddings of them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training import paths
from training.phrase_files import read_paraphrases
from training.recordings import read_table
from training.sentence_encoder import teacher_embeddings
from training.texts import class_phrases, label_phrases
from training.wordnet import WordNet

SEED = 4
TEMPLATES = (
    "{}", "{}", "{}", "This is a sound of {}.", "This is a sound of {}", "the sound of {}", "a recording of {}",
    "i can hear {}", "{} in the background", "the noise of {}", "{} nearby", "loud {}", "faint {} in the distance",
)  # fmt: skip


def corpus_targets(size: int = 180_000) -> tuple[list[str], Tensor]:
    """A corpus of `size` texts and the sentence encoder's embeddings `(texts, 384)` of them; computed once."""
    path = paths.cache() / "text_targets.pt"
    if not path.exists():
        texts = corpus(np.random.default_rng(SEED), size, WordNet())
        began = time.monotonic()
        torch.save((texts, teacher_embeddings(texts)), path)
        print(f"teacher: {len(texts)} texts in {time.monotonic() - began:.0f} s", flush=True)
    texts, targets = torch.load(path)
    return texts, targets


def sound_phrases() -> list[str]:
    """Every phrase that names a sound, without repetition."""
    listed = [*class_phrases().values(), *label_phrases().values()]
    captions = [row["caption"] for row in read_table("open")]
    return sorted({phrase for phrases in listed for phrase in phrases} | set(captions))


def corpus(random: np.random.Generator, size: int, wordnet: WordNet) -> list[str]:
    """`size` texts: phrases in templates, pairs of them, phrases with words exchanged, words and glosses.

    None of them has the words of a paraphrase in `paraphrases.csv`: those measure texts that training never saw.
    """
    phrases = sound_phrases()
    everyday = [entry for entry in wordnet.entries.values() if wordnet.common_words & set(entry.words)]
    nouns = sorted({word for entry in everyday for word in entry.words if word in wordnet.common_words})
    sounding = sorted({word for phrase in phrases for word in phrase.split() if word.endswith("ing")})
    asked = [_long_words(paraphrase) for paraphrase, _ in read_paraphrases()]

    def one(words: Sequence[str]) -> str:
        return words[int(random.integers(len(words)))]

    def draw() -> str:
        kind = random.random()
        if kind < 0.15:
            return one(TEMPLATES).format(one(phrases))
        if kind < 0.23:
            return f"{one(phrases)} {random.choice(['and', 'while', 'with', 'over', 'then'])} {one(phrases)}"
        if kind < 0.58:
            return one(TEMPLATES).format(reworded(one(phrases), random, wordnet))
        if kind < 0.66:
            return f"{one(nouns)} {reworded(one(sounding), random, wordnet)}"
        if kind < 0.74:
            words = one(phrases).split()
            words[random.integers(len(words))] = one(nouns)
            return " ".join(words)
        if kind < 0.87:
            return one(TEMPLATES).format(" ".join(one(nouns) for _ in range(random.choice([1, 1, 1, 2, 3]))))
        entry = everyday[random.integers(len(everyday))]
        return entry.gloss if random.random() < 0.6 else ", ".join(entry.words)

    texts = set(phrases)
    while len(texts) < size:
        text = draw()
        words = _long_words(text)
        if not any(paraphrase <= words for paraphrase in asked):
            texts.add(text)
    return sorted(texts)


def _long_words(text: str) -> frozenset[str]:
    """The words that carry its meaning: those of more than three letters."""
    return frozenset(word for word in text.lower().split() if len(word) > 3)


def reworded(phrase: str, random: np.random.Generator, wordnet: WordNet) -> str:
    """The phrase with about half of its words exchanged for others that mean nearly the same."""
    words = phrase.split()
    return " ".join((wordnet.exchange(word, random) or word) if random.random() < 0.5 else word for word in words)
