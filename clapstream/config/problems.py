"""What is wrong with a configuration, in words a user can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from clapstream.config.advice import advice, explain_unknown_key
from clapstream.config.paths import PATH_ERROR
from clapstream.config.yaml_reader import Location
from clapstream.urls import HIDDEN, may_hold_credentials


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
    """`("sources", 1, "pace")` as `sources[1].pace`; keys that are no plain words are quoted, or hidden."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif may_hold_credentials(part):
            text += f".{HIDDEN}" if text else HIDDEN
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
    "value_error": ("error", "{}"),
}

_NEVER_SHOWN = ("host", "url", "url_file", "username", "password_file", "key_file")
"""Fields whose value may be a secret that looks like nothing in particular, such as a password without a file."""


_NOT_A_SECTION = ("model_type", "model_attributes_type", "tuple_type")


def explain(error: ErrorDetails, location: Location, known_keys: Iterable[str], *, may_show: bool) -> str:
    """Message for one of pydantic's errors at `location`; `known_keys` are allowed in place of an unknown one.

    The value that was given is repeated only if it `may_show` and if it cannot be, or hold, a URL or a password.
    """
    if error["type"] == "extra_forbidden":
        return explain_unknown_key(str(location[-1]), sorted(known_keys))
    value: Any = error["input"]
    if isinstance(value, str) and (_is_secret(location, error["type"]) or may_hold_credentials(value)):
        may_show = False
    message = _message(error, may_show)
    if message.startswith("must ") and may_show:
        message += given(value)
    instead = advice(location, value)
    return f"{message}; {instead}" if instead else message


def _is_secret(location: Location, kind: str) -> bool:
    """Whether any text at this field may be a secret; text in the place of a section may be anything."""
    return kind in _NOT_A_SECTION or (bool(location) and location[-1] in _NEVER_SHOWN)


def _message(error: ErrorDetails, may_show: bool) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == PATH_ERROR:
        return f"{context['path']} {context['reason']}" if may_show else str(context["reason"])
    if kind in _TYPE_MESSAGES:
        return _TYPE_MESSAGES[kind]
    if kind in _LIMIT_MESSAGES:
        key, template = _LIMIT_MESSAGES[kind]
        limit = context[key]
        return template.format(f"{limit:.12g}" if isinstance(limit, float) else limit)
    return error["msg"].replace("Input should be", "must be")


def given(value: Any) -> str:
    """`, not 'slow'`: the value that was given, unless it is long or structured."""
    if value is None:
        return ", not null"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, (int, float)) and len(str(value)) <= 40:
        return f", not {getattr(value, 'text', value)}"
    if isinstance(value, str) and 0 < len(value) <= 40:
        return f", not {value!r}"
    return ""
