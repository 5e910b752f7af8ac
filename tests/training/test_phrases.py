"""The text assets of the training: complete, unambiguous, and apart from the paraphrases that measure them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PHRASES = ROOT / "training" / "phrases"
PARAPHRASES = PHRASES / "paraphrases.csv"
DATA = ROOT.parent / "shared" / "data"

WORD = r"[a-z']+"

# Function words, and the words any caption of a sound may use.
STOP_WORDS = frozenset(
    re.findall(
        WORD,
        "a an the of in on at to by from into with and or over out off up down for is are be being its it's it as "
        "that their his her this sound noise someone somebody person people",
    )
)


def content_words(text: str) -> tuple[str, ...]:
    """Lower-case words of a text without stop words, in order."""
    return tuple(word for word in re.findall(WORD, text.lower()) if word not in STOP_WORDS)


def read_yaml(name: str) -> dict[str, Any]:
    content = yaml.safe_load((PHRASES / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def audioset_phrases() -> dict[str, list[str]]:
    return read_yaml("audioset.yaml")


def label_map() -> dict[str, dict[str, Any]]:
    return read_yaml("label_map.yaml")


def paraphrases() -> list[tuple[str, str]]:
    with PARAPHRASES.open(encoding="utf-8", newline="") as stream:
        return [(row["paraphrase"], row["label"]) for row in csv.DictReader(stream)]


def training_texts() -> list[str]:
    """Everything in training/phrases that is a text: class names, phrases, display names."""
    texts = []
    for name, phrases in audioset_phrases().items():
        texts += [name, *phrases]
    for entry in label_map().values():
        texts += [str(entry["display"]), *entry["phrases"]]
    return texts


def assert_no_overlap(texts: list[str]) -> None:
    """No paraphrase has the content words of a text, nor quotes a text of two words or more."""
    known = {content_words(text) for text in texts}
    known_sets = {frozenset(words) for words in known}
    for paraphrase, _ in paraphrases():
        words = content_words(paraphrase)
        assert frozenset(words) not in known_sets, f"{paraphrase!r} is said in training"
        for first in range(len(words)):
            for end in range(first + 2, len(words) + 1):
                assert words[first:end] not in known, f"{paraphrase!r} quotes {' '.join(words[first:end])!r}"


def test_there_are_all_521_classes_with_phrases() -> None:
    phrases = audioset_phrases()
    assert len(phrases) == 521
    assert all(len(texts) >= 3 and all(isinstance(text, str) for text in texts) for texts in phrases.values())


def test_no_phrase_names_two_classes() -> None:
    owner: dict[str, str] = {}
    for name, texts in audioset_phrases().items():
        for text in texts:
            assert owner.setdefault(text, name) == name, f"{text!r} names {owner[text]!r} and {name!r}"


def test_labels_map_to_known_classes() -> None:
    classes = audioset_phrases().keys()
    for label, entry in label_map().items():
        assert set(entry) == {"display", "audioset", "phrases"}, label
        assert set(entry["audioset"]) <= classes, label
        assert len(entry["phrases"]) >= 4, label


def test_paraphrases_are_sixty_over_thirty_known_labels() -> None:
    rows = paraphrases()
    assert len(rows) == len({paraphrase for paraphrase, _ in rows}) == 60
    labels = {label for _, label in rows}
    assert len(labels) == 30
    assert labels <= label_map().keys()


def test_no_paraphrase_is_in_the_phrases() -> None:
    assert_no_overlap(training_texts())


@pytest.mark.skipif(not (DATA / "open.csv").exists(), reason="needs the labelled sounds in ../shared/data")
def test_no_paraphrase_is_in_the_captions() -> None:
    with (DATA / "open.csv").open(encoding="utf-8", newline="") as stream:
        assert_no_overlap([row["caption"] for row in csv.DictReader(stream)])
