"""The dashboard's terminal: what of a picture its encoding can show, and leaving it as it was."""

from __future__ import annotations

import os
import select

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

_RESTORE = b"\x1b[?1049l\x1b[?25h"
"""Leave the alternate screen, show the cursor."""

_PLAIN = str.maketrans("●▆│╎┃▴▲·…▁▂▃▄▅▇█", "*=|:|^!-~___--##")


class Encodable:
    """A picture in the console's encoding, every line as wide as it was."""

    def __init__(self, picture: RenderableType) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._picture, options):
            yield Segment(encodable(text, console.encoding) if options.ascii_only else text, style, control)


def encodable(text: str, encoding: str) -> str:
    """The text with what the encoding lacks replaced, in the same number of terminal cells."""
    return "\n".join(_encodable_line(line, encoding) for line in text.translate(_PLAIN).split("\n"))


def restore(descriptor: int) -> None:
    """Leave the alternate screen and show the cursor; raises OSError, but never waits for a stalled terminal."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if any(events & select.POLLOUT for _, events in poll.poll(0)):
        os.write(descriptor, _RESTORE)


def _encodable_line(line: str, encoding: str) -> str:
    shown = "".join(character if _has(encoding, character) else "?" * cell_len(character) for character in line)
    return shown if shown == line else set_cell_size(shown, cell_len(line))


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
