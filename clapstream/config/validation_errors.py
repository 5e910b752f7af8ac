"""Pydantic's errors in words a user can act on."""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

from clapstream.config.advice import advice, explain_unknown_key
from clapstream.config.label_settings import LABEL_SECTIONS
from clapstream.config.paths import PATH_ERROR
from clapstream.config.section import Section
from clapstream.config.settings import SECTIONS
from clapstream.config.yaml_reader import Location
from clapstream.urls import may_hold_credentials

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
"""Fields whose value may be a secret that no pattern recognises, such as a password without a file."""


_NOT_A_SECTION = ("model_type", "model_attributes_type", "tuple_type")


def location_of(error: ErrorDetails) -> Location:
    """Where an error is in the file: pydantic puts the type of a source after its index."""
    location = error["loc"]
    if error["type"].startswith("union_tag"):
        return (*location, "type")
    if location[:1] == ("sources",) and len(location) > 2:
        return location[:2] + location[3:]
    return location


def explain(error: ErrorDetails, location: Location, model: type[Section], *, may_show: bool) -> str:
    """Message for one of pydantic's errors about a `model`, at `location` in the file.

    The value that was given is repeated only if it `may_show` and if it cannot be, or hold, a URL or a password.
    """
    if error["type"] == "extra_forbidden":
        return explain_unknown_key(str(location[-1]), sorted(_known_keys(model, error["loc"][:-1])))
    value: Any = error["input"]
    if isinstance(value, str) and (_is_secret(location, error["type"]) or may_hold_credentials(value)):
        may_show = False
    message = _message(error, may_show)
    if message.startswith("must ") and may_show:
        message += given(value)
    instead = advice(location, value)
    return f"{message}; {instead}" if instead else message


def _known_keys(model: type[Section], parent: Location) -> list[str]:
    """Keys that are allowed at `parent`, a location below `model` as pydantic gives it."""
    section = ".".join(part for part in parent if isinstance(part, str))
    return list(({**SECTIONS, **LABEL_SECTIONS}[section] if section else model).model_fields)


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
