"""Ends the process on time, even if a name server, a device, a disk or the interpreter hangs.

The interpreter's own exit joins every thread and frees torch's objects: that takes seconds on a busy machine, and
never ends if a device hangs. By then the daemon has published, closed and flushed everything, so it is skipped.
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

from clapstream.process.exit_codes import OK

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop the daemon."""

SHUTDOWN_SECONDS = 4.0
"""How long a shutdown may take: longer than the time limit of the sinks, so that they can finish."""

SECOND_SIGNAL_SECONDS = 0.5
"""How long it may go on after a second signal: `timeout` and other wrappers send one signal twice."""

before_exit: list[Callable[[], None]] = []
"""Called before the process ends, in any way this module ends it. They must not block."""


def exit_now(exit_code: int) -> None:
    """End the process without the interpreter's own exit; logs and standard streams are flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # Its reader may be gone, it may be closed, or the process may have started without it.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    _exit(exit_code)


def exit_after_timeout(exit_code: int, message: str | None = None, *, seconds: float = SHUTDOWN_SECONDS) -> None:
    """End the process if it is still running after `seconds`; then `message` is written to standard error."""
    timer = threading.Timer(seconds, _exit, (exit_code, message))
    timer.daemon = True
    timer.start()


def exit_on_signal() -> None:
    """End the process at once on SIGTERM or SIGINT: for the start, when nothing needs closing yet."""
    for each in STOP_SIGNALS:
        signal.signal(each, _handle_by_exit)


def exit_on_second_signal() -> None:
    """Call it after the first signal: a second one ends the process soon, a third one at once."""

    def exit_soon(_number: int, _frame: FrameType | None) -> None:
        exit_on_signal()
        exit_after_timeout(OK, seconds=SECOND_SIGNAL_SECONDS)

    for each in STOP_SIGNALS:
        signal.signal(each, exit_soon)


def handle_early_hangups(*, terminal_closes: bool) -> None:
    """Handle SIGHUP until the daemon does: exit if it means that the terminal closed, otherwise block it."""
    if terminal_closes:
        signal.signal(signal.SIGHUP, _handle_by_exit)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _handle_by_exit(_number: int, _frame: FrameType | None) -> None:
    _exit(OK)


def _exit(exit_code: int, message: str | None = None) -> None:
    for action in before_exit:
        with contextlib.suppress(OSError, ValueError):
            action()
    if message is not None:
        with contextlib.suppress(OSError):
            os.write(2, f"{message}\n".encode(errors="replace"))
    os._exit(exit_code)
