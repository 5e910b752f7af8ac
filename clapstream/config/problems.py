"""What is wrong with a configuration: in which file, at which line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

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
