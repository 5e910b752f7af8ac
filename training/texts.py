"""Phrases for every class and label, and which classes and labels belong together."""

from __future__ import annotations

from training.phrase_files import audioset_phrases, confusable_groups, label_map
from training.yamnet import class_names

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


def class_phrases() -> dict[str, list[str]]:
    """Phrases of each AudioSet class, its display name first."""
    written = audioset_phrases()
    return {name: [name.lower(), *written.get(name, [])] for name in class_names()}


def label_phrases() -> dict[str, list[str]]:
    """Phrases of each label of the data and of the composer, its display name first."""
    phrases = {label: [str(entry["display"]), *map(str, entry["phrases"])] for label, entry in label_map().items()}
    return phrases | EXTRA_PHRASES


def label_classes() -> dict[str, list[str]]:
    """AudioSet classes that each label implies."""
    return {label: list(entry["audioset"]) for label, entry in label_map().items()} | EXTRA_CLASSES


def confusable_labels() -> dict[str, set[str]]:
    """For each label those that a recording of it may contain as well, or be taken for; itself included."""
    found: dict[str, set[str]] = {label: {label} for label in label_phrases()}
    for together in confusable_groups():
        for label in together:
            found[label] |= set(together)
    return found
