"""PyYAML's syntax errors in one line, without the text of the file: it may hold a password."""

from __future__ import annotations

import yaml

_WITHOUT_CONTENT = {
    "found undefined alias": "undefined alias; put text that begins with * in quotes",
    "found duplicate anchor": "two values have the same anchor; put text that begins with & in quotes",
    "found undefined tag handle": "undefined tag; put text that begins with ! in quotes",
    "mapping values are not allowed": "a colon and a space in a value, or a key that is not aligned with its "
    "neighbours; put text with a colon and a space in quotes",
    "that cannot start any token": "no value can begin with @, ` or %; put it in quotes",
}
"""What to say where PyYAML quotes the file, or does not say what to do."""

_VARIABLE = "in { } and [ ] a value with ${NAME} must stand in quotes"


def explain_syntax_error(error: yaml.MarkedYAMLError, text: str) -> str:
    """One line for a syntax error in `text`, with line and column."""
    mark = error.problem_mark or error.context_mark
    reason = _reason(error)
    if mark is None:
        return f"is not valid YAML: {reason}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation or line[mark.column : mark.column + 1] == "\t":
        return f"line {mark.line + 1}: a tab is used for indentation; YAML allows only spaces there"
    if "${" in (line[max(0, mark.column - 1) : mark.column + 1], line[mark.column : mark.column + 2]):
        reason = _VARIABLE
    return f"line {mark.line + 1}, column {mark.column + 1}: is not valid YAML: {reason}"


def _reason(error: yaml.MarkedYAMLError) -> str:
    quoted = " ".join(part for part in (error.context, error.problem) if part)
    return next((instead for quoting, instead in _WITHOUT_CONTENT.items() if quoting in quoted), quoted)
