"""The live terminal dashboard: a sink that draws.

Drawing happens in a thread of its own, because writing to a terminal can block for as long as its user likes
(Ctrl-S, a stalled remote shell), and that must not cost sound. What it gives up when it cannot keep up: pictures.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from clapstream.sinks.dashboard.notices import warnings_as_notices
from clapstream.sinks.dashboard.state import DashboardState, Notice, add_notice, apply, initial_state
from clapstream.sinks.dashboard.terminal import Encodable, restore
from clapstream.sinks.dashboard.view import render
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.updates import SourceInfo, Update

IDLE_SECONDS = 1.0
"""The picture is drawn this often when nothing happens: clock and durations go on."""
LEAST_SECONDS = 0.2
"""Time between two pictures at least."""
GRACE_SECONDS = 1.0
"""How long `run` waits for a terminal that takes no more output."""

_logger = logging.getLogger(__name__)


def _local_now() -> datetime:
    return datetime.now().astimezone()


class DashboardSink:
    """Shows on `console` (default: standard output) what all sources hear, until it is closed.

    While it runs, log lines for a terminal would tear the picture: they are held back, and warnings appear in the
    footer instead. Ctrl-Z gives the terminal back until the process goes on. `on_lost` is called when the terminal
    is gone.
    """

    on_lost: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        console: Console | None = None,
        *,
        model: str,
        device: str,
        node: str,
        sources: Sequence[SourceInfo],
        broker: str | None,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._console = console if console is not None else Console()
        self._now = now
        self._state = initial_state(node=node, model=model, device=device, sources=sources, broker=broker)
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._screen_left = threading.Event()
        self._screen_left.set()
        self._lost = False
        self._closed = asyncio.Event()

    @property
    def state(self) -> DashboardState:
        """What the next picture shows."""
        return self._state

    def offer(self, update: Update) -> None:
        """Take one update into the next picture."""
        self._change(lambda state: apply(state, update))

    def set_broker_state(self, text: str) -> None:
        """Show how the connection to the broker is: connecting, online or offline."""
        self._change(lambda state: replace(state, broker_state=text))

    def set_delivery(self, delivery: Delivery) -> None:
        """Show what waits for the broker, what it refuses and what was lost."""
        self._change(lambda state: replace(state, delivery=delivery))

    def set_device(self, text: str) -> None:
        """Show what the model runs on, once that is known: `cpu bf16`."""
        self._change(lambda state: replace(state, device=text))

    def notice(self, text: str, severe: bool = False) -> None:
        """Show a line in the footer; may be called from any thread."""
        self._change(lambda state: add_notice(state, Notice(self._now(), severe, text)))

    async def run(self) -> None:
        """Draw until `close`; raises what drawing raises, but a terminal that went away only ends the drawing."""
        drawing: Future[None] = Future()
        thread = threading.Thread(target=self._draw, args=(drawing,), name="dashboard", daemon=True)
        with warnings_as_notices(self.notice), self._pausing_on_request():
            thread.start()
            drawn = asyncio.wrap_future(drawing)
            closed = asyncio.create_task(self._closed.wait())
            either: tuple[asyncio.Future[Any], ...] = (drawn, closed)
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not drawn.done():
                    await asyncio.wait({drawn}, timeout=GRACE_SECONDS)
                if drawn.done():
                    drawn.result()
                if self._lost:
                    self.on_lost()
                await closed
            finally:
                closed.cancel()
                self._stop_drawing()
                if not self._closed.is_set():  # a crash is told on a terminal that is as it was
                    await asyncio.wait({drawn}, timeout=GRACE_SECONDS)

    def restore_terminal(self) -> None:
        """Leave the terminal as it was, at once, for a process that ends without closing; raises OSError."""
        if not self._screen_left.is_set():
            restore(self._console.file.fileno())

    def close(self) -> None:
        """Let `run` come to its end; the last picture stays on the terminal if anything was heard."""
        self._closed.set()
        self._stop_drawing()

    def _change(self, change: Callable[[DashboardState], DashboardState]) -> None:
        """Replace the state; log lines come from other threads, hence the lock, which nobody holds for long."""
        with self._lock:
            self._state = change(self._state)
        self._changed.set()

    def _stop_drawing(self) -> None:
        self._stop.set()
        self._changed.set()

    def _draw(self, drawing: Future[None]) -> None:
        """The thread."""
        try:
            while not self._stop.is_set():
                self._screen_left.clear()
                self._draw_until_paused()
                self._screen_left.set()
                while self._paused.is_set() and not self._stop.is_set():
                    self._changed.wait()
                    self._changed.clear()
            if any(source.past for source in self._state.sources.values()):
                self._console.print(self._picture())
        except OSError as error:
            self._lost = not isinstance(error, BlockingIOError)  # it is there, but takes no output without waiting
            _logger.warning("the dashboard ends, its terminal is gone: %s", error)
            drawing.set_result(None)
        except BaseException as error:
            drawing.set_exception(error)
        else:
            drawing.set_result(None)

    def _draw_until_paused(self) -> None:
        """Draw a picture after each change, at most every `LEAST_SECONDS`."""
        with Live(
            self._picture(),
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,  # other threads' output must not wait for this terminal
            redirect_stderr=False,
        ) as live:
            while True:
                self._changed.clear()  # before the checks: whoever asks to end sets it last
                if self._stop.is_set() or self._paused.is_set():
                    return
                live.update(self._picture(), refresh=True)
                self._stop.wait(LEAST_SECONDS)
                self._changed.wait(IDLE_SECONDS)

    def _picture(self) -> RenderableType:
        width, height = self._console.size
        return Encodable(render(self._state, self._now(), width, height))

    @contextlib.contextmanager
    def _pausing_on_request(self) -> Iterator[None]:
        """Ctrl-Z stops the process once the drawing thread has left the terminal as it was."""
        loop = asyncio.get_running_loop()
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
            yield
            return

        def pause() -> None:
            self._paused.set()
            self._changed.set()
            self._screen_left.wait(GRACE_SECONDS)
            loop.remove_signal_handler(signal.SIGTSTP)
            os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process goes on
            loop.add_signal_handler(signal.SIGTSTP, pause)
            self._paused.clear()
            self._changed.set()

        loop.add_signal_handler(signal.SIGTSTP, pause)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTSTP)


def export_svg(
    state: DashboardState, path: Path, *, now: datetime | None = None, width: int = 100, height: int = 32
) -> None:
    """Write a picture of a state that any browser shows, without fetching fonts from elsewhere."""
    moment = now if now is not None else datetime.now(UTC).astimezone()
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(render(state, moment, width, height))
    picture = console.export_svg(title=f"clapstream · {state.node}")
    path.write_text(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL), encoding="utf-8")
