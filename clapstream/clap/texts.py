"""Reads what a caller hands over as text: one text or several, each with a second one or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, NamedTuple

Input = str | list[str]
"""A text, or the words it was split into."""


class Texts(NamedTuple):
    """Each row's text and its second text; `single` where the caller gave one text instead of a list of one."""

    rows: list[tuple[Input, Input | None]]
    single: bool


def read_texts(text: Any, text_pair: Any = None, *, is_split_into_words: bool = False) -> Texts:
    """The texts of an argument; several may come from any iterable, also from a generator.

    A list's entry may be a pair of texts itself. With `is_split_into_words` a list of words is one text.

    Raises:
        TypeError: something that is not text, or one text where the other argument has several.
        ValueError: as many second texts as first ones are asked for.
    """
    firsts, single = split_texts("text", text, is_split_into_words)
    if text_pair is None:
        return Texts([as_pair(item, is_split_into_words) for item in firsts], single)
    seconds, single_pair = split_texts("text_pair", text_pair, is_split_into_words)
    if single != single_pair:
        raise TypeError("text_pair must be a list where text is a list, and one text where text is one")
    if len(firsts) != len(seconds):
        raise ValueError(f"text_pair has {len(seconds)} texts for {len(firsts)} in text")
    return Texts(
        [
            (as_text("text", first, is_split_into_words), as_text("text_pair", second, is_split_into_words))
            for first, second in zip(firsts, seconds, strict=True)
        ],
        single,
    )


def split_texts(name: str, value: Any, is_split_into_words: bool) -> tuple[list[Any], bool]:
    """The entries of an argument, and whether it was one text."""
    if isinstance(value, str):
        return [value.split() if is_split_into_words else value], True
    is_wrong = isinstance(value, (bytes, bytearray, Mapping, set, frozenset, PathLike))
    if is_wrong or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{name} must be a text or a list of texts, not {value!r} ({type(value).__name__})")
    items = list(value)
    if is_split_into_words and items and all(isinstance(item, str) for item in items):
        return [items], True
    return items, False


def as_pair(item: Any, is_split_into_words: bool) -> tuple[Input, Input | None]:
    """An entry of a list: a text, or a pair of texts."""
    if not is_split_into_words and isinstance(item, (list, tuple)) and len(item) == 2:
        return as_text("text", item[0], False), as_text("text", item[1], False)
    return as_text("text", item, is_split_into_words), None


def as_text(name: str, item: Any, is_split_into_words: bool) -> Input:
    """One text, or the words of one; TypeError for anything else."""
    if is_split_into_words:
        if isinstance(item, (list, tuple)) and all(isinstance(word, str) for word in item):
            return list(item)
        raise TypeError(f"{name}: with is_split_into_words each text must be a list of words, not {item!r}")
    if not isinstance(item, str):
        raise TypeError(f"{name}: texts must be strings, not {item!r} ({type(item).__name__})")
    return item
