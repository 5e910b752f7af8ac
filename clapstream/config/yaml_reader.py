"""YAML read with suspicion: a configuration file is refused with a reason, never half understood.

PyYAML's safe loader still expands a few lines of aliases into gigabytes, lets the last of two equal keys win,
recurses as deep as the text is nested and turns `1:30` into 90, `no` into false and `2024-01-01` into a date. Here
size, depth and the number of values are bounded, duplicate keys are problems, and only the JSON types exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

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
    """A parsed file: its value, the line (from 1) of every value in it, and what had to be left out and why."""

    value: Value = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[tuple[Location, str]] = field(default_factory=list)


def read_yaml(path: Path) -> Document:
    """Read a YAML file; raises `UnreadableError` for anything that is not a small, sane, single YAML document."""
    return parse_yaml(_read_text(path))


def parse_yaml(text: str) -> Document:
    """Parse YAML text; raises `UnreadableError` (see `read_yaml`)."""
    try:
        _refuse_deep_nesting(text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(_explain(error, text)) from error
    except yaml.reader.ReaderError as error:
        raise UnreadableError(f"has a character that YAML forbids (U+{error.character:04X})") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets these through for "\U00110000" and %YAML 9...9
        raise UnreadableError(f"is not valid YAML: {error}") from error
    return Document() if node is None else _Builder().build(node)


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
    """PyYAML's scanner and composer; what a plain word means is decided by `_plain_value`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (the superclass declares it so)


_PLAIN_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
"""What the composer gives to values without a tag of their own."""
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def _plain_value(text: str) -> Value:
    """What an unquoted word means: YAML 1.2's null, booleans and decimal numbers; anything else is text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and not _LEADING_ZERO.match(text.partition(".")[0]):
        return float(text)
    return text


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

    def __init__(self) -> None:
        self._lines: dict[Location, int] = {}
        self._problems: list[tuple[Location, str]] = []

    def build(self, node: yaml.Node) -> Document:
        """Document of a root node; raises `UnreadableError` when it is too large or too deep."""
        return Document(self._value(node, ()), self._lines, self._problems)

    def _value(self, node: yaml.Node, location: Location) -> Value:
        self._lines[location] = node.start_mark.line + 1
        if len(location) > DEEPEST_NESTING:  # an alias inside of what it stands for
            raise UnreadableError(f"line {node.start_mark.line + 1}: {_TOO_DEEP}")
        if len(self._lines) > MOST_VALUES:
            raise UnreadableError(f"has more than {MOST_VALUES} values (aliases count as often as they are used)")
        if node.tag not in _PLAIN_TAGS:
            self._problems.append(
                (location, f"YAML tags such as {node.tag!r} are not supported; leave the tag out")
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*location, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)  # the third and last kind
        text = self._whole(node.value, location)
        return _plain_value(text) if node.style is None else text

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


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    """One line for a syntax error; tabs, the most common cause, are named as such."""
    mark = error.problem_mark or error.context_mark
    reason = " ".join(part for part in (error.context, error.problem) if part)
    if mark is None:
        return f"is not valid YAML: {reason}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation or line[mark.column : mark.column + 1] == "\t":
        return f"line {mark.line + 1}: a tab is used for indentation; YAML allows only spaces there"
    return f"line {mark.line + 1}, column {mark.column + 1}: is not valid YAML: {reason}"
