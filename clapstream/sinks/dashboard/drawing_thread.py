"""Draws the dashboard in a thread of its own, because writing to a terminal can block for any length of time.

A terminal blocks after Ctrl-S, or when a remote shell stalls; that must not cost sound. A slow terminal gets fewer
pictures.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future

from rich.console import Console, RenderableType
from rich.live import Live

from clapstream.sinks.dashboard.encoding import Encodable

MAX_INTERVAL_SECONDS = 1.0
"""Without changes a picture is drawn this often: the clock and the durations go on."""
MIN_INTERVAL_SECONDS = 0.2
GRACE_SECONDS = 1.0
"""How long to wait for a terminal that accepts no more output."""

_RESTORE = b"\x1b[?1049l\x1b[?25h"
"""Leave the alternate screen, show the cursor."""

_logger = logging.getLogger(__name__)


class DrawingThread:
    """Draws `picture()` on the alternate screen of `console` until it is stopped, then `last_picture()` below it.

    `terminal_lost` is set when the terminal has been closed, which ends the drawing.
    """

    def __init__(
        self,
        console: Console,
        picture: Callable[[], RenderableType],
        last_picture: Callable[[], RenderableType | None],
    ) -> None:
        self.terminal_lost = False
        self._console = console
        self._picture = picture
        self._last_picture = last_picture
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._screen_left = threading.Event()
        self._screen_left.set()

    def start(self) -> Future[None]:
        """Start drawing; the future completes when it ends, with the exception if drawing raised one."""
        drawing: Future[None] = Future()
        threading.Thread(target=self._run, args=(drawing,), name="dashboard", daemon=True).start()
        return drawing

    def redraw(self) -> None:
        """Draw a new picture soon."""
        self._changed.set()

    def stop(self) -> None:
        """Leave the alternate screen and end the drawing."""
        self._stop.set()
        self._changed.set()

    def pause(self) -> None:
        """Leave the alternate screen, until `resume`; return once it is left, or the terminal blocks."""
        self._paused.set()
        self._changed.set()
        self._screen_left.wait(GRACE_SECONDS)

    def resume(self) -> None:
        """Draw again."""
        self._paused.clear()
        self._changed.set()

    def restore_terminal(self) -> None:
        """Leave the alternate screen at once, for a process that exits without `stop`; raises OSError."""
        if self._screen_left.is_set():
            return
        descriptor = self._console.file.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in poll.poll(0)):  # else writing would block
            os.write(descriptor, _RESTORE)

    def _run(self, drawing: Future[None]) -> None:
        try:
            while not self._stop.is_set():
                self._screen_left.clear()
                self._draw_until_paused()
                self._screen_left.set()
                while self._paused.is_set() and not self._stop.is_set():
                    self._changed.wait()
                    self._changed.clear()
            last = self._last_picture()
            if last is not None:
                self._console.print(Encodable(last))
        except OSError as error:
            self.terminal_lost = not isinstance(error, BlockingIOError)  # which means that it only blocks
            _logger.warning("cannot write to the terminal, dashboard stopped: %s", error)
            drawing.set_result(None)
        except BaseException as error:
            drawing.set_exception(error)
        else:
            drawing.set_result(None)

    def _draw_until_paused(self) -> None:
        """Draw a picture after each change, at most every `MIN_INTERVAL_SECONDS`."""
        with Live(
            Encodable(self._picture()),
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,  # other threads' output must not wait for this terminal
            redirect_stderr=False,
        ) as live:
            while True:
                self._changed.clear()  # before the checks, because `stop` and `pause` set it last
                if self._stop.is_set() or self._paused.is_set():
                    return
                live.update(Encodable(self._picture()), refresh=True)
                self._stop.wait(MIN_INTERVAL_SECONDS)
                self._changed.wait(MAX_INTERVAL_SECONDS)
