# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""Words exchanged by WordNet keep their form and much of their meaning; the corpus keeps clear of what is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

for package in ("inflect", "onnx", "onnxruntime", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from training.wordnet import WordNet, parse

pytestmark = pytest.mark.skipif(
    not Path("/usr/share/wordnet/data.noun").exists(), reason="needs Debian's wordnet-base, as training does"
)

WORDNET = WordNet()

VERB_LINE = (
    "01047763 32 v 01 bark 0 006 @ 00983842 v 0000 + 07376621 n 0101 + 09839515 n 0101 + 02084732 n 0104 "
    '~ 01047969 v 0000 ~ 01048189 v 0000 01 + 01 00 | make barking sounds; "The dogs barked at the stranger"  '
)


def exchanged(word: str) -> set[str | None]:
    random = np.random.default_rng(1)
    return {WORDNET.exchange(word, random) for _ in range(200)}


def test_an_entry_has_its_words_gloss_and_neighbours_of_meaning() -> None:
    entry = parse(VERB_LINE)
    assert entry.words == ("bark",)
    assert entry.gloss == "make barking sounds"
    assert entry.near == (("v", "00983842"), ("v", "01047969"), ("v", "01048189"))  # not the derived nouns


def test_words_are_exchanged_for_near_ones() -> None:
    assert exchanged("shrieking") & {"yowling", "shouting", "screaming"}
    assert exchanged("kettle") & {"boiler", "teakettle"}
    assert exchanged("rain") & {"shower", "rain shower", "rainfall"}


def test_the_form_of_a_word_stays() -> None:
    assert all(word is None or word.split()[0].endswith("ing") for word in exchanged("shrieking"))
    plurals = {word for word in exchanged("bells") if word}
    assert plurals
    assert all(word.endswith(("s", "men", "i", "ae", "a")) for word in plurals)


def test_an_unknown_word_has_no_near_ones() -> None:
    assert exchanged("qwrtzp") == {None}
