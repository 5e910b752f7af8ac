"""What an unquoted word in a YAML file means; numbers keep how they were written."""

from __future__ import annotations

import re
from typing import Any

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,300})")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class WrittenInteger(int):
    """A whole number, and the `text` that it was written as: `1234` may be meant as a user name."""

    text: str


class WrittenNumber(float):
    """A number that is not whole, and the `text` that it was written as."""

    text: str


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted word means: YAML 1.2's null, booleans and decimal numbers; anything else is text."""
    return _WORDS[text] if text in _WORDS else number_or_text(text)


def number_or_text(text: str) -> str | int | float:
    """The number that a text is written like, else the text."""
    number: WrittenInteger | WrittenNumber
    if _INTEGER.fullmatch(text):
        number = WrittenInteger(text)
    elif _NUMBER.fullmatch(text) and not _LEADING_ZERO.match(text.partition(".")[0]):
        number = WrittenNumber(text)
    else:
        return text
    number.text = text
    return number


def written_text(value: Any) -> Any:
    """The text of a number from a file, digit by digit, where text is wanted; any other value unchanged."""
    return value.text if isinstance(value, WrittenInteger | WrittenNumber) else value
