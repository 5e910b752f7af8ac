"""WordNet as Debian packages it: words and glosses, everyday words, and words of nearly the same meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import inflect
import numpy as np

from training import paths

ENGLISH = inflect.engine()
PARTS = {"noun": "n", "verb": "v", "adj": "a"}
NEAR = ("@", "~", "&")
"""Pointers to what is more general, more special, and (of adjectives) alike: wninput(5WN)."""
SENSES = 2
"""How many of a word's senses count, the commonest first: the others are rarely what a phrase means."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A synset: its words, its gloss, and the synsets that its pointers lead to, as (part, offset)."""

    words: tuple[str, ...]
    gloss: str
    near: tuple[tuple[str, str], ...]


class WordNet:
    """The database in a folder, read when it is needed."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = paths.wordnet() if folder is None else folder
        self._senses: dict[str, dict[str, list[str]]] = {}

    @cached_property
    def entries(self) -> dict[tuple[str, str], Entry]:
        """Every synset of nouns, verbs and adjectives by (part, offset), in the files' order."""
        return {
            (letter, line[:8]): parse(line)
            for part, letter in PARTS.items()
            for line in self._lines(f"data.{part}")
            if not line.startswith("  ")
        }

    @cached_property
    def common_words(self) -> frozenset[str]:
        """Lemmas that WordNet's tagged texts use at all: the everyday part of its vocabulary."""
        return frozenset(line.split("%")[0].replace("_", " ") for line in self._lines("cntlist.rev"))

    def senses(self, part: str) -> dict[str, list[str]]:
        """Offsets of each word's synsets, the commonest first."""
        if part not in self._senses:
            self._senses[part] = {}
            for line in self._lines(f"index.{part}"):
                if not line.startswith("  "):
                    fields = line.split()
                    self._senses[part][fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
        return self._senses[part]

    def exchange(self, word: str, random: np.random.Generator) -> str | None:
        """Another word of nearly the same meaning in the same form; None if the random walk found none."""
        lemmas = self._lemmas
        if word in lemmas["ing"]:
            other = self._near(lemmas["ing"][word], "verb", random)
            return other and participle(other)
        if word in self.senses("noun"):
            return self._near(word, "noun", random)
        if word in lemmas["plural"]:
            other = self._near(lemmas["plural"][word], "noun", random)
            return other and plural(other)
        if word in lemmas["third"]:
            other = self._near(lemmas["third"][word], "verb", random)
            return other and third_person(other)
        return self._near(word, "adj", random) if word in self.senses("adj") else None

    @cached_property
    def _lemmas(self) -> dict[str, dict[str, str]]:
        """Lemmas by their forms in phrases: -ing and third person of verbs, plural of nouns."""
        verbs = [word for word in self.senses("verb") if word.isalpha()]
        nouns = [word for word in self.senses("noun") if word.isalpha() and word in self.common_words]
        return {
            "ing": {participle(word): word for word in verbs},
            "third": {third_person(word): word for word in verbs if word in self.common_words},
            "plural": {plural(word): word for word in nouns},
        }

    def _near(self, word: str, part: str, random: np.random.Generator) -> str | None:
        """A word from a synset of `word` or from one that is at most two pointers away."""
        offsets = self.senses(part)[word][:SENSES]
        key = (PARTS[part], offsets[random.integers(len(offsets))])
        for _ in range(random.integers(3)):
            near = [place for place in self.entries[key].near if place in self.entries]
            if near:
                key = near[random.integers(len(near))]
        words = [other for other in self.entries[key].words if other != word and other.islower()]
        return words[random.integers(len(words))] if words else None

    def _lines(self, name: str) -> list[str]:
        return (self._folder / name).read_text(encoding="latin-1").splitlines()


def parse(line: str) -> Entry:
    """An entry from its line: the format of wndb(5WN)."""
    head, gloss = line.split(" | ", 1)
    fields = head.split()
    last = 4 + 2 * int(fields[3], 16)
    pointers = [fields[index : index + 4] for index in range(last + 1, last + 1 + 4 * int(fields[last]), 4)]
    return Entry(
        words=tuple(re.sub(r"\(.*?\)", "", word).replace("_", " ") for word in fields[4:last:2]),
        gloss=re.sub(r"\([^)]*\)", "", gloss).split(";")[0].strip(),
        near=tuple((part, offset) for symbol, offset, part, _ in pointers if symbol in NEAR),
    )


@cache
def participle(verb: str) -> str:
    """The -ing form of a verb: of its first word, if it has several."""
    first, *others = verb.split()
    return " ".join([str(ENGLISH.present_participle(first)), *others])


@cache
def plural(noun: str) -> str:
    """The plural of a noun."""
    return str(ENGLISH.plural_noun(noun))


def third_person(verb: str) -> str:
    """The -s form of a verb, which English spells as a plural: of its first word, if it has several."""
    first, *others = verb.split()
    return " ".join([plural(first), *others])
