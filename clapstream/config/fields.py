"""Kinds of values that several sections have, and the messages about values that do not fit."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from clapstream.config.plain_values import written_text


def holds_credentials(text: str) -> bool:
    """Whether a text that is going to be shown holds a URL or a user name with its password."""
    return re.search(r"://|[^\s:]:\S*@", text) is not None


def _clean_text(text: str) -> str:
    """Control characters, which could move a terminal's cursor, and runs of white space become one space."""
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    cleaned = " ".join(visible.split())
    if not cleaned:
        raise ValueError("must not be empty")
    if holds_credentials(cleaned):  # it would be shown, logged and published
        raise ValueError("must not hold a URL or a password")
    return cleaned


def tuple_from_list(value: Any) -> Any:
    """A list as YAML has it into a tuple as settings have it."""
    return tuple(value) if isinstance(value, list) else value


def check_mapping(value: Any) -> Any:
    """A section's keys and values, or the section itself."""
    if isinstance(value, (dict, BaseModel)):
        return value
    raise ValueError("must be a mapping of keys to values")


def defaults_when_empty(value: Any) -> Any:
    """A section whose keys are all commented out reads as null: it means the defaults."""
    return {} if value is None else value


FromNumber = BeforeValidator(written_text)
"""Text that may look like a number: a node, a user name or a topic made of digits."""

Text = Annotated[str, Field(max_length=1000), FromNumber, AfterValidator(_clean_text)]
