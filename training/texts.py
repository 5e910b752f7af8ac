"""All text that training reads: phrases of sounds, captions, class names, WordNet's words and glosses."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from training.paths import PHRASES
from training.prepare import read_table
from training.yamnet import class_names

WORDNET = Path("/usr/share/wordnet")
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


def sound_phrases() -> list[str]:
    """Every phrase that names a sound, without repetition."""
    listed = [*class_phrases().values(), *label_phrases().values()]
    captions = [row["caption"] for row in read_table("open")]
    return sorted({phrase for phrases in listed for phrase in phrases} | set(captions))


def wordnet() -> list[tuple[str, str]]:
    """(words, gloss) of WordNet's nouns, verbs and adjectives."""
    entries = []
    for part in ("noun", "verb", "adj"):
        for line in (WORDNET / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            fields = head.split()
            words = [fields[4 + 2 * index] for index in range(int(fields[3], 16))]
            clean = ", ".join(re.sub(r"\(.*?\)", "", word).replace("_", " ") for word in words)
            entries.append((clean, re.sub(r"\([^)]*\)", "", gloss).split(";")[0].strip()))
    return entries


def common_words() -> set[str]:
    """Lemmas that WordNet's tagged texts use at all: the everyday part of its vocabulary."""
    lines = (WORDNET / "cntlist.rev").read_text(encoding="latin-1").splitlines()
    return {line.split("%")[0].replace("_", " ") for line in lines}


def corpus(random: np.random.Generator, size: int) -> list[str]:
    """Texts for distilling the text tower: phrases in templates, pairs of phrases, words and glosses."""
    phrases, common, entries = sound_phrases(), common_words(), wordnet()
    everyday = [entry for entry in entries if any(word in common for word in entry[0].split(", "))]
    nouns = sorted({word for words, _ in everyday for word in words.split(", ") if word in common})
    texts = set(phrases)
    while len(texts) < size:
        draw = random.random()
        first, second = (phrases[random.integers(len(phrases))] for _ in range(2))
        if draw < 0.25:
            texts.add(TEMPLATES[random.integers(len(TEMPLATES))].format(first))
        elif draw < 0.35:
            texts.add(f"{first} {random.choice(['and', 'while', 'with', 'over', 'then'])} {second}")
        elif draw < 0.50:
            words = first.split()
            words[random.integers(len(words))] = nouns[random.integers(len(nouns))]
            texts.add(" ".join(words))
        elif draw < 0.70:
            template = TEMPLATES[random.integers(len(TEMPLATES))]
            texts.add(template.format(nouns[random.integers(len(nouns))]))
        elif draw < 0.80:
            texts.add(" ".join(nouns[random.integers(len(nouns))] for _ in range(random.integers(2, 4))))
        else:
            words, gloss = everyday[random.integers(len(everyday))]
            texts.add(gloss if random.random() < 0.6 else words)
    return sorted(texts)
