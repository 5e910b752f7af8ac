"""The live dashboard: a sink that shows updates on a terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Console, RenderableType

from clapstream.sinks.dashboard.drawing_thread import GRACE_SECONDS, DrawingThread
from clapstream.sinks.dashboard.job_control import suspend_handled
from clapstream.sinks.dashboard.layout import render
from clapstream.sinks.dashboard.notices import warnings_as_notices
from clapstream.sinks.dashboard.state import DashboardState, Notice, add_notice, apply, initial_state
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.updates import SourceInfo, Update


def _local_now() -> datetime:
    return datetime.now().astimezone()


class DashboardSink:
    """Shows on `console` (default: standard output) what all sources hear, until it is closed.

    While it runs, log lines are not written to terminals, where they would garble the picture; warnings appear in
    the footer. Ctrl-Z restores the terminal until the process continues. `on_lost` is called when the terminal is
    closed.
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
        self._drawing = DrawingThread(self._console, self._picture, self._last_picture)
        self._closed = asyncio.Event()

    @property
    def state(self) -> DashboardState:
        """What the next picture shows."""
        return self._state

    def offer(self, update: Update) -> None:
        """Show one update in the next picture."""
        self._change(lambda state: apply(state, update))

    def set_broker_state(self, text: str) -> None:
        """Show the state of the connection to the broker: connecting, online or offline."""
        self._change(lambda state: replace(state, broker_state=text))

    def set_delivery(self, delivery: Delivery) -> None:
        """Show what is waiting for the broker, refused by it or lost."""
        self._change(lambda state: replace(state, delivery=delivery))

    def set_device(self, text: str) -> None:
        """Show what the model runs on, once that is known: `cpu bf16`."""
        self._change(lambda state: replace(state, device=text))

    def notice(self, text: str, severe: bool = False) -> None:
        """Show a line in the footer; may be called from any thread."""
        self._change(lambda state: add_notice(state, Notice(self._now(), severe, text)))

    async def run(self) -> None:
        """Draw until `close`; raises what drawing raises, but a closed terminal only ends the drawing."""
        with warnings_as_notices(self.notice), suspend_handled(self._drawing.pause, self._drawing.resume):
            drawn = asyncio.wrap_future(self._drawing.start())
            closed = asyncio.create_task(self._closed.wait())
            either: tuple[asyncio.Future[Any], ...] = (drawn, closed)
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not drawn.done():
                    await asyncio.wait({drawn}, timeout=GRACE_SECONDS)
                if drawn.done():
                    drawn.result()
                if self._drawing.terminal_lost:
                    self.on_lost()
                await closed
            finally:
                closed.cancel()
                self._drawing.stop()
                if not self._closed.is_set():  # after a crash, whose traceback needs a restored terminal
                    await asyncio.wait({drawn}, timeout=GRACE_SECONDS)

    def restore_terminal(self) -> None:
        """Leave the alternate screen at once, for a process that exits without closing; raises OSError."""
        self._drawing.restore_terminal()

    def close(self) -> None:
        """Make `run` return; the last picture stays on the terminal if anything was heard."""
        self._closed.set()
        self._drawing.stop()

    def _change(self, change: Callable[[DashboardState], DashboardState]) -> None:
        """Replace the state; notices come from other threads, hence the lock, which is held only for a moment."""
        with self._lock:
            self._state = change(self._state)
        self._drawing.redraw()

    def _picture(self) -> RenderableType:
        width, height = self._console.size
        return render(self._state, self._now(), width, height)

    def _last_picture(self) -> RenderableType | None:
        heard = any(source.past for source in self._state.sources.values())
        return self._picture() if heard else None
