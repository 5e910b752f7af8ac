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
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop the daemon."""

STOPPED = 0
"""The exit code after a signal."""

LEAVE_SECONDS = 4.0
"""How long going down may take: more than sinks are given, and it leaves the kernel a second to clear up."""


def leave_now(exit_code: int) -> None:
    """End the process without the interpreter's way out; what was logged and printed is flushed."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone, or it is closed
            stream.flush()
    os._exit(exit_code)


def leave_in_time(exit_code: int, last_words: str | None = None) -> None:
    """End the process `LEAVE_SECONDS` from now, if it is still there; `last_words` go to standard error then."""

    def leave() -> None:
        if last_words is not None:
            with contextlib.suppress(OSError):
                os.write(2, f"{last_words}\n".encode(errors="replace"))
        os._exit(exit_code)

    deadline = threading.Timer(LEAVE_SECONDS, leave)
    deadline.daemon = True
    deadline.start()


def leave_at_a_signal() -> None:
    """End the process at once on a signal that stops it: as long as nothing is open, or when it is the second."""
    for each in STOPPING:
        signal.signal(each, _leave_at_once)


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(STOPPED)
