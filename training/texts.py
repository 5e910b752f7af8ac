"""All text that training reads: phrases of sounds, captions, class names, and what WordNet makes of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import yaml

from training import wordnet
from training.open_vocabulary import read_paraphrases
from training.paths import PHRASES
from training.prepare import read_table
from training.yamnet import class_names

TEMPLATES = (
    "{}", "{}", "{}", "This is a sound of {}.", "This is a sound of {}", "the sound of {}", "a recording of {}",
    "i can hear {}", "{} in the background", "the noise of {}", "{} nearby", "loud {}", "faint {} in the distance",
)  # fmt: skip
EXTRA_PHRASES = {
    "children_playing": [
        "children playing", "kids playing outside", "children at play", "a playground full of children",
        "kids shouting and laughing while they play", "the sound of a schoolyard", "boys and girls playing a game",
    ],
    "street_music": [
        "street music", "a busker playing", "music played in the street", "live music outdoors",
        "a street musician performing", "musicians on the pavement", "an outdoor concert",
    ],
}  # fmt: skip
EXTRA_CLASSES = {"children_playing": ["Children playing"], "street_music": ["Music"]}


@cache
def class_phrases() -> dict[str, list[str]]:
    """Phrases of each AudioSet class, its display name first."""
    written = yaml.safe_load((PHRASES / "audioset.yaml").read_text(encoding="utf-8"))
    return {name: [name.lower(), *written.get(name, [])] for name in class_names()}


@cache
def label_map() -> dict[str, dict[str, object]]:
    """What each label of the data means: display name, AudioSet classes, phrases."""
    return yaml.safe_load((PHRASES / "label_map.yaml").read_text(encoding="utf-8"))


@cache
def label_phrases() -> dict[str, list[str]]:
    """Phrases of each label of the data and of the composer, its display name first."""
    phrases = {
        label: [str(entry["display"]), *map(str, entry["phrases"])]  # type: ignore[call-overload]
        for label, entry in label_map().items()
    }
    return phrases | EXTRA_PHRASES


@cache
def label_classes() -> dict[str, list[str]]:
    """AudioSet classes that each label implies."""
    classes = {label: list(entry["audioset"]) for label, entry in label_map().items()}  # type: ignore[call-overload]
    return classes | EXTRA_CLASSES


@cache
def company() -> dict[str, set[str]]:
    """For each label those that a recording of it may well hold too, or be taken for; see `company.yaml`."""
    found: dict[str, set[str]] = {label: {label} for label in label_phrases()}
    for together in yaml.safe_load((PHRASES / "company.yaml").read_text(encoding="utf-8")):
        for label in together:
            found[label] |= set(together)
    return found


def sound_phrases() -> list[str]:
    """Every phrase that names a sound, without repetition."""
    listed = [*class_phrases().values(), *label_phrases().values()]
    captions = [row["caption"] for row in read_table("open")]
    return sorted({phrase for phrases in listed for phrase in phrases} | set(captions))


def corpus(random: np.random.Generator, size: int) -> list[str]:
    """Texts for the text tower: phrases in templates, pairs of them, their words exchanged, words and glosses.

    None says the same as a wording of `paraphrases.csv`: that list asks for what training never saw.
    """
    phrases = sound_phrases()
    everyday = [entry for entry in wordnet.entries().values() if wordnet.common_words() & set(entry.words)]
    nouns = sorted({word for entry in everyday for word in entry.words if word in wordnet.common_words()})
    sounding = sorted({word for phrase in phrases for word in phrase.split() if word.endswith("ing")})
    asked = [_long_words(paraphrase) for paraphrase, _ in read_paraphrases()]

    def one(words: list[str]) -> str:
        return words[random.integers(len(words))]

    def draw() -> str:
        kind = random.random()
        if kind < 0.15:
            return one(TEMPLATES).format(one(phrases))
        if kind < 0.23:
            return f"{one(phrases)} {random.choice(['and', 'while', 'with', 'over', 'then'])} {one(phrases)}"
        if kind < 0.58:
            return one(TEMPLATES).format(reworded(one(phrases), random))
        if kind < 0.66:
            return f"{one(nouns)} {reworded(one(sounding), random)}"
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


def reworded(phrase: str, random: np.random.Generator) -> str:
    """The phrase with about half of its words exchanged for others that mean nearly the same."""
    words = phrase.split()
    return " ".join((wordnet.exchange(word, random) or word) if random.random() < 0.5 else word for word in words)
