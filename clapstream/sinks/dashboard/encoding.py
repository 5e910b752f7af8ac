"""Replaces the characters of the dashboard that the terminal's encoding lacks."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

_PLAIN = str.maketrans("●▆│╎┃▴▲·…▁▂▃▄▅▇█", "*=|:|^!-~___--##")


class Encodable:
    """A picture in the console's encoding; the width of each line does not change."""

    def __init__(self, picture: RenderableType) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._picture, options):
            yield Segment(encodable(text, console.encoding) if options.ascii_only else text, style, control)


def encodable(text: str, encoding: str) -> str:
    """The text without the characters that the encoding lacks, in the same number of terminal cells."""
    return "\n".join(_encodable_line(line, encoding) for line in text.translate(_PLAIN).split("\n"))


def _encodable_line(line: str, encoding: str) -> str:
    shown = "".join(character if _has(encoding, character) else "?" * cell_len(character) for character in line)
    return shown if shown == line else set_cell_size(shown, cell_len(line))


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
