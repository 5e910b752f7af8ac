"""YAML read with suspicion: a configuration file is refused with a reason, never half understood.

PyYAML's safe loader still expands a few lines of aliases into gigabytes, lets the last of two equal keys win,
recurses as deep as the text is nested and turns `1:30` into 90, `no` into false and `2024-01-01` into a date. Here
size, depth and the number of values are bounded, duplicate keys are problems, and only the JSON types exist.
Values may hold environment variables (`${NAME}`), keys may not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from clapstream.config.environment import VariableError, expand_variables
from clapstream.config.plain_values import number_or_text, plain_value
from clapstream.config.yaml_errors import explain_syntax_error

LARGEST_FILE_BYTES = 256 * 1024
DEEPEST_NESTING = 20
MOST_VALUES = 20_000
"""Values after the expansion of aliases: thousands of labels fit, a YAML bomb does not."""

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
    """Read a YAML file; raises `UnreadableError` for anything that is not a small, sane, single YAML document."""
    return parse_yaml(_read_text(path), environment)


def parse_yaml(text: str, environment: Mapping[str, str]) -> Document:
    """Parse YAML text; raises `UnreadableError` (see `read_yaml`)."""
    node, fault = _compose(text)
    if fault:  # not raised where it was found: PyYAML's error, which quotes the file, would be its context
        raise UnreadableError(fault)
    return Document() if node is None else _Builder(environment).build(node)


def _compose(text: str) -> tuple[yaml.Node | None, str]:
    """The root node, or what is wrong with the text; raises `UnreadableError` where it is too deep."""
    try:
        _refuse_deep_nesting(text)
        return yaml.compose(text, Loader=_Loader), ""
    except yaml.MarkedYAMLError as error:
        return None, explain_syntax_error(error, text)
    except yaml.reader.ReaderError as error:
        return None, f"has a character that YAML forbids (U+{error.character:04X})"
    except (ValueError, OverflowError) as error:  # PyYAML lets these through for "\U00110000" and %YAML 9...9
        return None, f"is not valid YAML: {error}"


def _read_text(path: Path) -> str:
    """Text of a regular file, at most `LARGEST_FILE_BYTES` of UTF-8."""
    try:
        if path.is_dir():
            raise UnreadableError("is a directory; a YAML file is needed")
        if path.exists() and not path.is_file():
            raise UnreadableError("is not a regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise UnreadableError("does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > LARGEST_FILE_BYTES:
        raise UnreadableError(f"is larger than {LARGEST_FILE_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"is not UTF-8 text (byte {error.start})") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and composer; what a plain word means is decided by `plain_value`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the superclass declares it so)


_PLAIN_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
"""What the composer gives to values without a tag of their own."""


def _refuse_deep_nesting(text: str) -> None:
    """Walk the events, which needs no recursion, before the composer recurses over them."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST_NESTING:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise UnreadableError(f"line {line}: {_TOO_DEEP}")


_TOO_DEEP = f"nested deeper than {DEEPEST_NESTING} levels"


class _Builder:
    """Turns composed nodes into plain values, counting what aliases expand to."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lines: dict[Location, int] = {}
        self._problems: list[tuple[Location, str]] = []
        self._from_environment: set[Location] = set()

    def build(self, node: yaml.Node) -> Document:
        """Document of a root node; raises `UnreadableError` when it is too large or too deep."""
        return Document(self._value(node, ()), self._lines, self._problems, self._from_environment)

    def _value(self, node: yaml.Node, location: Location) -> Value:
        self._lines[location] = node.start_mark.line + 1
        if len(location) > DEEPEST_NESTING:  # an alias inside of what it stands for
            raise UnreadableError(f"line {node.start_mark.line + 1}: {_TOO_DEEP}")
        if len(self._lines) > MOST_VALUES:
            raise UnreadableError(f"has more than {MOST_VALUES} values (aliases count as often as they are used)")
        if node.tag not in _PLAIN_TAGS:
            self._problems.append((location, _explain_tag(node.tag)))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # the third and last kind
        return self._scalar(self._whole(node.value, location), location, plain=node.style is None)

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
            key = self._whole(key_node.value, location)
            here = (*location, key)
            if key in mapping:
                repeated, first = key_node.start_mark.line + 1, self._lines[here]
                self._problems.append((here, f"is given twice, in lines {first} and {repeated}; keep one"))
                continue
            mapping[key] = self._value(value_node, here)
        return mapping

    def _whole(self, text: str, location: Location) -> str:
        """Text in which two halves of a character, as JSON escapes them, are one; a single half is a problem."""
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self._problems.append((location, "holds half of a character (an escape from \\uD800 to \\uDFFF)"))
            return text.encode(errors="replace").decode()


def _explain_tag(tag: str) -> str:
    if tag in ("!secret", "!env_var"):
        return f"{tag} is not known here; write ${{NAME}} for an environment variable, or name a file (url_file)"
    return "begins with !, a YAML tag, which is not supported; put text that begins with ! in quotes"
