"""The terminal that clapstream was started from: whether it goes down with it, and whether it is still there."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TextIO

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a process is attached to.

    `controlling`: SIGHUP says that the terminal was closed; otherwise it asks for a reload, as a service manager's
    does. `descriptors` are open on the terminal or on the pipe that the log goes to.
    """

    controlling: bool = False
    descriptors: tuple[int, ...] = ()

    @classmethod
    def of_process(cls) -> Terminal:
        """The terminal of this process; none where SIGHUP is ignored from the start, as `nohup` does."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return cls()
        controlling = _open_controlling_terminal()
        outputs = [STANDARD_OUTPUT] if os.isatty(STANDARD_OUTPUT) else []
        if os.isatty(STANDARD_ERROR) or _is_pipe(STANDARD_ERROR):
            outputs.append(STANDARD_ERROR)
        return cls(controlling is not None, (*outputs, *([] if controlling is None else [controlling])))

    def is_gone(self) -> bool:
        """Whether a terminal was closed, or nobody reads the pipe any more. Asks the kernel, writes nothing."""
        poll = select.poll()
        for descriptor in self.descriptors:
            poll.register(descriptor, 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def why_not_drawable(output: TextIO, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why no full-screen picture can be drawn on `output`, for a person to read; None if it can.

    What terminals can do is looked up in terminfo, by $TERM. Names that begin with `xterm` and that an old database
    lacks are taken for what they say.
    """
    if not output.isatty():
        return "standard output is not a terminal"
    name = environment.get("TERM", "")
    if not name:
        return "TERM is not set"
    unable = f"a terminal of type {name!r} (TERM) cannot place text anywhere on the screen"
    if name in ("dumb", "unknown"):
        return unable
    try:
        import curses  # not part of every Python
    except ImportError:
        return None
    try:
        curses.setupterm(name, output.fileno())
    except curses.error as error:
        if "hardcopy" in str(error):
            return unable
        known_or_no_database = name.startswith("xterm") or "database" in str(error)
        return None if known_or_no_database else f"terminfo knows no terminal of type {name!r} (TERM)"
    move_cursor = curses.tigetstr("cup")
    return None if move_cursor is not None and move_cursor.startswith(b"\x1b[") else unable


def prepare_standard_streams() -> None:
    """Let printing never fail for want of a stream or of a letter in its encoding.

    What our parent closed (`<&- >&-`) is opened on the null device, before another file gets its number.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 (it gets the lowest free number)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def draw_in_ascii_where_the_locale_asks(output: TextIO, environment: Mapping[str, str] = os.environ) -> None:
    """Set the encoding of `output` to ASCII in the locale C or POSIX, where Python takes UTF-8 for granted."""
    locale = next(filter(None, (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    chosen = environment.get("PYTHONIOENCODING") or environment.get("PYTHONUTF8")
    if locale in ("C", "POSIX") and not chosen and isinstance(output, TextIOWrapper):
        output.reconfigure(encoding="ascii", errors="backslashreplace")


def _open_controlling_terminal() -> int | None:
    """A descriptor that stays open: `/dev/tty` cannot be opened any more when the terminal is gone."""
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _is_pipe(descriptor: int) -> bool:
    """Not a socket: the journal's may close and come back while the service goes on."""
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
