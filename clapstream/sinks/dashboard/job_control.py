"""Ctrl-Z: the process stops only once the terminal has been restored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def suspend_handled(pause: Callable[[], None], resume: Callable[[], None]) -> Iterator[None]:
    """Call `pause` before SIGTSTP stops the process, and `resume` when it continues; needs a running event loop.

    A SIGTSTP that is ignored or handled already is left as it is.
    """
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return
    loop = asyncio.get_running_loop()

    def suspend() -> None:
        pause()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process continues
        loop.add_signal_handler(signal.SIGTSTP, suspend)
        resume()

    loop.add_signal_handler(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTSTP)
