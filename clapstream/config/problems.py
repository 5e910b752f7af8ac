"""What is wrong with a configuration, in words a user can act on."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from clapstream.config.yaml_reader import Location


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: in which file, at which dotted field (`sources[1].pace`), and what is allowed.

    `field` is empty when the file as a whole is meant; `line` counts from 1 and is None where there is none.
    """

    file: str
    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` is all that is wrong with it, `str` one problem a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def dotted(location: Location) -> str:
    """`("sources", 1, "pace")` as `sources[1].pace`; keys that are no plain words are quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w-]{1,80}", part) else json.dumps(part[:80])
            text += f".{word}" if text else word
    return text


_TYPE_MESSAGES = {
    "missing": "is missing; it has no default",
    "string_type": "must be text (in quotes if it looks like something else)",
    "string_unicode": "must be text that UTF-8 can carry",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "too_short": "needs at least one entry",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "is_instance_of": "must be a path",
    "union_tag_not_found": "has no type; known are 'microphone', 'recording', 'pcm', 'stream'",
}
_LIMIT_MESSAGES = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_long": ("max_length", "must be at most {} characters long"),
    "literal_error": ("expected", "must be {}"),
    "union_tag_invalid": ("expected_tags", "has an unknown type; known are {}"),
    "string_pattern_mismatch": ("pattern", "must match {}"),
    "value_error": ("error", "{}"),
}


def explain(error: ErrorDetails, known_keys: Iterable[str]) -> str:
    """Message for one of pydantic's errors; `known_keys` are those allowed where an unknown one stands."""
    kind = error["type"]
    if kind == "extra_forbidden":
        return _explain_unknown_key(str(error["loc"][-1]), sorted(known_keys))
    if kind in _TYPE_MESSAGES:
        message = _TYPE_MESSAGES[kind]
    elif kind in _LIMIT_MESSAGES:
        key, template = _LIMIT_MESSAGES[kind]
        limit = error.get("ctx", {})[key]
        message = template.format(f"{limit:g}" if isinstance(limit, float) else limit)
    else:
        message = error["msg"].replace("Input should be", "must be")
    return message + _given(error) if message.startswith("must ") else message


def _explain_unknown_key(key: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    suggestion = f"did you mean {nearest[0]}? " if nearest else ""
    return f"is not known; {suggestion}known here: {', '.join(known)}"


def _given(error: ErrorDetails) -> str:
    """`, not 'slow'`: the value that was given, unless it is long, structured or may hold a secret."""
    value: Any = error["input"]
    if error["loc"] and error["loc"][-1] in ("url", "username"):
        return ""
    if value is None:
        return ", not null"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, (str, int, float)) and len(repr(value)) <= 40:
        return f", not {value!r}"
    return ""
