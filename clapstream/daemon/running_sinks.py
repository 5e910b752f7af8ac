"""All sinks of a daemon: each is offered every update, and has some time at the end to deliver what is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

from clapstream.updates import Update

GRACE_SECONDS = 3.0
"""How long sinks may take to publish what is left."""


class Sink(Protocol):
    """Where updates go: `MqttSink`, `DashboardSink`, `LogSink`. `offer` never blocks and never raises."""

    def offer(self, update: Update) -> None:
        """Take one update."""

    async def run(self) -> None:
        """Deliver what is offered; returns after `close`, once pending data is delivered or dropped."""

    def close(self) -> None:
        """Ask `run` to come to its end."""


class RunningSinks:
    """The sinks, each in a task of its own."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

    def add(self, sink: Sink) -> None:
        """Offer updates to one more sink; before `running`."""
        self._sinks.append(sink)

    def offer(self, update: Update) -> None:
        """Offer an update to every sink."""
        for sink in self._sinks:
            sink.offer(update)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Run them all; at the end they are closed and have `GRACE_SECONDS`."""
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(sink.run(), name=type(sink).__name__) for sink in self._sinks]
            try:
                yield
            finally:
                for sink in self._sinks:
                    sink.close()
                if running:
                    await asyncio.wait(running, timeout=GRACE_SECONDS)
                for task in running:
                    task.cancel()
