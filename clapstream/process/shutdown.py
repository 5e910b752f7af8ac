"""Ends the process when it is time to, whatever then hangs: a name server, a device, a disk, the interpreter.

Python's own way out joins every thread and takes torch apart piece by piece: seconds on a busy machine, for ever
behind a hung device. The daemon publishes, closes and flushes what it has by itself; then nothing is left to do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop the daemon."""

SECOND_SIGNAL_SECONDS = 0.5
"""How long going down may go on after a second signal: `timeout` and other wrappers send one signal twice."""

before_exit: list[Callable[[], None]] = []
"""What every way out of the process does first. It must not wait for anything."""

STOPPED = 0
"""The exit code after a signal."""

SHUTDOWN_SECONDS = 4.0
"""How long going down may take: more than sinks are given, and it leaves the kernel a second to clear up."""


def exit_now(exit_code: int) -> None:
    """End the process without the interpreter's way out; what was logged and printed is flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # Whoever read it is gone, it is closed, or there was none from the start.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _exit(exit_code)


def exit_after_timeout(exit_code: int, message: str | None = None, *, seconds: float = SHUTDOWN_SECONDS) -> None:
    """End the process some seconds from now, if it is still there; `message` go to standard error then."""
    deadline = threading.Timer(seconds, _exit, (exit_code, message))
    deadline.daemon = True
    deadline.start()


def exit_on_signal() -> None:
    """End the process at once on a signal that stops it, as long as nothing is open."""
    for each in STOP_SIGNALS:
        signal.signal(each, _exit_on_signal)


def exit_on_second_signal() -> None:
    """End the process soon on a second signal, and at once on a third."""

    def leave_soon(_number: int, _frame: FrameType | None) -> None:
        exit_on_signal()
        exit_after_timeout(STOPPED, seconds=SECOND_SIGNAL_SECONDS)

    for each in STOP_SIGNALS:
        signal.signal(each, leave_soon)


def handle_early_hangups(*, terminal_closes: bool) -> None:
    """Until the daemon handles SIGHUP: leave at once if it says that the terminal was closed, else block it."""
    if terminal_closes:
        signal.signal(signal.SIGHUP, _exit_on_signal)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _exit_on_signal(_number: int, _frame: FrameType | None) -> None:
    _exit(STOPPED)


def _exit(exit_code: int, message: str | None = None) -> None:
    for action in before_exit:
        with contextlib.suppress(OSError, ValueError):
            action()
    if message is not None:
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode(errors="replace"))
    os._exit(exit_code)
