"""When the daemon stops or reloads: on signals, and when the terminal that it was started from is gone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator

from clapstream.process.terminal import Terminal

_logger = logging.getLogger(__name__)

TERMINAL_CHECK_SECONDS = 1.0
"""How often to look whether the terminal is there: not every shell sends SIGHUP to background jobs."""


class Signals:
    """Collects requests to stop and to reload.

    SIGTERM and SIGINT stop (a second one kills, unless `on_stop` sees to it). SIGHUP stops where the terminal is a
    controlling one, for it then says that this was closed; otherwise it reloads, as service managers mean it.
    """

    def __init__(self, terminal: Terminal | None = None, on_stop: Callable[[], None] | None = None) -> None:
        self._terminal = terminal or Terminal()
        self._on_stop = on_stop
        self.stop_requested = asyncio.Event()
        self.reload_requested = asyncio.Event()

    def stop(self, reason: str) -> None:
        """Request to stop, once; later requests are ignored."""
        if self.stop_requested.is_set():
            return
        self.stop_requested.set()
        if self._on_stop is not None:
            self._on_stop()
        _logger.info("%s: stopping", reason)

    def terminal_lost(self) -> None:
        """Writing to the terminal failed: stop, unless this process is to outlive its terminal (`nohup`)."""
        if self._terminal.descriptors:
            self.stop("terminal lost")

    async def watch_terminal(self) -> None:
        """Stop when the terminal is closed, or the reader of the log is gone."""
        while not self._terminal.is_gone():  # noqa: ASYNC110 (the kernel has no event for it)
            await asyncio.sleep(TERMINAL_CHECK_SECONDS)
        self.stop("terminal closed, or nobody reads the log any more")

    @contextlib.contextmanager
    def handled(self) -> Iterator[None]:
        """Handle signals on the running loop; a SIGHUP that was blocked so far (see `cli`) arrives now."""
        loop = asyncio.get_running_loop()
        stopping = (signal.SIGTERM, signal.SIGINT)
        hangup_before = signal.getsignal(signal.SIGHUP)

        def stop(number: signal.Signals) -> None:
            for each in stopping:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
            self.stop(number.name)

        for number in stopping:
            loop.add_signal_handler(number, stop, number)
        if self._terminal.controlling:
            loop.add_signal_handler(signal.SIGHUP, self.stop, "terminal closed (SIGHUP)")
        else:
            loop.add_signal_handler(signal.SIGHUP, self.reload_requested.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        try:
            yield
        finally:
            for number in (*stopping, signal.SIGHUP):
                loop.remove_signal_handler(number)
            signal.signal(signal.SIGHUP, hangup_before)
