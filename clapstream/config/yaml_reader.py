"""Reads YAML into plain values, with the line of each, so that problems can name it.

PyYAML's safe loader lets the last of two equal keys win, expands a few lines of aliases into gigabytes and turns
`1:30` into 90, `no` into false and `2024-01-01` into a date. Here equal keys are problems, the number of values is
limited, and only the JSON types exist. Values may hold environment variables (`${NAME}`), keys may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from clapstream.config.environment import VariableError, expand_variables
from clapstream.config.plain_values import number_or_text, plain_value
from clapstream.config.yaml_errors import explain_syntax_error

MOST_VALUES = 20_000
"""Values after the expansion of aliases: enough for thousands of labels."""

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
Location = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the top of the file."""


class UnreadableError(Exception):
    """The file as a whole cannot be read as YAML; the message says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, the line (from 1) of every value in it, and what had to be left out and why.

    `from_environment` is where values hold an environment variable: they may be secrets.
    """

    value: Value = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[tuple[Location, str]] = field(default_factory=list)
    from_environment: set[Location] = field(default_factory=set)


def read_yaml(path: Path, environment: Mapping[str, str]) -> Document:
    """Read a YAML file; raises `UnreadableError` for what is not one YAML document in UTF-8."""
    return parse_yaml(_read_text(path), environment)


def parse_yaml(text: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text; raises `UnreadableError` (see `read_yaml`)."""
    try:
        node, fault = _compose(text)
        if not fault:
            return Document() if node is None else _Builder(environment).build(node)
    except RecursionError:  # also for an alias inside what it stands for
        fault = "is nested too deeply"
    raise UnreadableError(fault)  # outside of `except`: PyYAML's error, which quotes the file, would be its context


def _compose(text: str) -> tuple[yaml.Node | None, str]:
    """The root node, or what is wrong with the text."""
    try:
        return yaml.compose(text, Loader=_Loader), ""
    except yaml.MarkedYAMLError as error:
        return None, explain_syntax_error(error, text)
    except yaml.reader.ReaderError as error:
        return None, f"has a character that YAML forbids (U+{error.character:04X})"


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UnreadableError("does not exist") from error
    except IsADirectoryError as error:
        raise UnreadableError("is a directory; a YAML file is needed") from error
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 text (byte {error.start})") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and composer; what a plain word means is decided by `plain_value`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the superclass declares it so)


_PLAIN_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
"""What the composer gives to values without a tag of their own."""


class _Builder:
    """Turns composed nodes into plain values, counting what aliases expand to."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lines: dict[Location, int] = {}
        self._problems: list[tuple[Location, str]] = []
        self._from_environment: set[Location] = set()

    def build(self, node: yaml.Node) -> Document:
        """Document of a root node; raises `UnreadableError` when it has too many values."""
        return Document(self._value(node, ()), self._lines, self._problems, self._from_environment)

    def _value(self, node: yaml.Node, location: Location) -> Value:
        self._lines[location] = node.start_mark.line + 1
        if len(self._lines) > MOST_VALUES:
            raise UnreadableError(f"has more than {MOST_VALUES} values (aliases count as often as they are used)")
        if node.tag not in _PLAIN_TAGS:
            self._problems.append((location, _explain_tag(node.tag)))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # the third and last kind
        return self._scalar(_joined(node.value), location, plain=node.style is None)

    def _scalar(self, text: str, location: Location, *, plain: bool) -> Value:
        """What a word means. A variable may hold a number even in quotes, which { } and [ ] ask for."""
        if "${" not in text:
            return plain_value(text) if plain else text
        self._from_environment.add(location)
        try:
            expanded = expand_variables(text, self._environment)
        except VariableError as error:
            self._problems.append((location, str(error)))
            return text
        value = plain_value(expanded) if plain else number_or_text(expanded)
        return expanded if value is None else value

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.append((location, f"line {key_node.start_mark.line + 1}: a key must be a word"))
                continue
            key = _joined(key_node.value)
            here = (*location, key)
            if key in mapping:
                repeated, first = key_node.start_mark.line + 1, self._lines[here]
                self._problems.append((here, f"is given twice, in lines {first} and {repeated}; keep one"))
                continue
            mapping[key] = self._value(value_node, here)
        return mapping


def _joined(text: str) -> str:
    """Text in which the two escapes of one character, as JSON writes an emoji, are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _explain_tag(tag: str) -> str:
    if tag in ("!secret", "!env_var"):
        return f"{tag} is not known here; write ${{NAME}} for an environment variable, or name a file (url_file)"
    return "begins with !, a YAML tag, which is not supported; put text that begins with ! in quotes"
