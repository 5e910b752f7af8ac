"""The terminal that clapstream was started from: whether it was closed, and whether it can show a full screen."""

from __future__ import annotations

import os
import select
import signal
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal that a process is attached to.

    `controlling`: SIGHUP means that the terminal was closed; otherwise it requests a reload, as from a service
    manager. `descriptors` are open on the terminal, or on the pipe that the log is written to.
    """

    controlling: bool = False
    descriptors: tuple[int, ...] = ()

    @classmethod
    def of_process(cls) -> Terminal:
        """The terminal of this process; none if SIGHUP is ignored from the start, as under `nohup`."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return cls()
        controlling = _open_controlling_terminal()
        outputs = [STANDARD_OUTPUT] if os.isatty(STANDARD_OUTPUT) else []
        if os.isatty(STANDARD_ERROR) or _is_pipe(STANDARD_ERROR):
            outputs.append(STANDARD_ERROR)
        return cls(controlling is not None, (*outputs, *([] if controlling is None else [controlling])))

    def is_gone(self) -> bool:
        """Whether the terminal was closed or the pipe has no reader any more. Asks the kernel, writes nothing."""
        poll = select.poll()
        for descriptor in self.descriptors:
            poll.register(descriptor, 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def full_screen_problem(output: TextIO, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why `output` cannot show a full-screen display, for the user to read; None if it can.

    The terminal's abilities are looked up in terminfo, by $TERM. A name that begins with `xterm` but is missing
    from an old database is taken for an xterm.
    """
    if not output.isatty():
        return "standard output is not a terminal"
    name = environment.get("TERM", "")
    if not name:
        return "TERM is not set"
    unable = f"terminal type {name!r} (TERM) cannot move the cursor"
    if name in ("dumb", "unknown"):
        return unable
    try:
        import curses  # missing from some builds of Python
    except ImportError:
        return None
    try:
        curses.setupterm(name, output.fileno())
    except curses.error as error:
        if "hardcopy" in str(error):
            return unable
        known_or_no_database = name.startswith("xterm") or "database" in str(error)
        return None if known_or_no_database else f"unknown terminal type {name!r} (TERM)"
    move_cursor = curses.tigetstr("cup")
    return None if move_cursor is not None and move_cursor.startswith(b"\x1b[") else unable


def _open_controlling_terminal() -> int | None:
    """A descriptor that stays open, because `/dev/tty` can no longer be opened once the terminal is closed."""
    try:
        return os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None


def _is_pipe(descriptor: int) -> bool:
    """Sockets do not count: the journal's may close and reopen while the service runs."""
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False
