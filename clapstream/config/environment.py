"""Environment variables in the values of a configuration file: `${NAME}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})?")


class VariableError(ValueError):
    """A reference to an environment variable that cannot be resolved; the message says what to do."""


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Put the values of variables in the place of `${NAME}`, and `${` in the place of `$${`.

    Raises `VariableError` for a variable that is not set and for a `${` without a name.
    """

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise VariableError(
                "has ${ without the name of an environment variable, as in ${CAMERA_PASSWORD}; "
                "write $${ for the characters themselves"
            )
        if name not in environment:
            raise VariableError(
                f"needs the environment variable {name}, which is not set; write $${{ for the characters ${{"
            )
        if _has_surrogates(environment[name]):
            raise VariableError(f"needs the environment variable {name}, which is not UTF-8 text")
        return environment[name]

    return _REFERENCE.sub(value, text)


def _has_surrogates(text: str) -> bool:
    """Whether the variable held bytes that are no text."""
    return any("\ud800" <= character <= "\udfff" for character in text)
