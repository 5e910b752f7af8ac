"""A sink under test on a real broker, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clapstream.config import MqttSettings
from clapstream.control import Command
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.sinks.mqtt.node_state import NodeState
from clapstream.sinks.mqtt.sink import MqttSink
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.updates import Event, EventEnded, EventStarted, LabelInfo, SourceInfo, SourceLabels
from support.real_broker import Listener
from support.sources import KITCHEN

BASE = "clapstream/home"
DISCOVERY = "homeassistant/device/clapstream_home/config"
DOG = LabelInfo("dog barking", "dog_barking", 0.6, 0.4)
DOORBELL = LabelInfo("doorbell", "doorbell", 0.7, 0.5)
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
QUICK = Timeouts(reply=2.0, first_retry=0.05, longest_retry=0.2, stable=0.0, retained=0.2, diagnostics=0.1)


def started(id: str, label: LabelInfo = DOG) -> EventStarted:
    return EventStarted(Event(id, KITCHEN, label, 0.81239, 0.81239, NOON))


def ended(id: str, label: LabelInfo = DOG) -> EventEnded:
    event = Event(id, KITCHEN, label, 0.81239, 0.9, NOON, NOON + timedelta(seconds=7.5), 7.5)
    return EventEnded(event)


class Bench:
    """A sink, the commands it passed on, and the states and deliveries it reported.

    `labels` are those of every source, or those of each by its name.
    """

    def __init__(self, port: int, spool_path: Path | None = None, **options: Any) -> None:
        self.commands: list[Command] = []
        self.states: list[str] = []
        self.deliveries: list[Delivery] = []
        infos = [SourceInfo.of(name) for name in options.pop("sources", ["kitchen"])]
        labels = options.pop("labels", (DOG, DOORBELL))
        if not isinstance(labels, Mapping):
            labels = {info.name: labels for info in infos}
        timeouts = options.pop("timeouts", QUICK)
        state = NodeState(options.pop("installation", "0" * 11), spool_path)
        self.sink = MqttSink(
            MqttSettings(host=options.pop("host", "127.0.0.1"), port=port, **options),
            node="home",
            sources=infos,
            model="bundled",
            version="1.2.3",
            state=state,
            on_command=self.commands.append,
            on_state=self.states.append,
            on_delivery=self.deliveries.append,
            timeouts=timeouts,
        )
        for info in infos:
            self.sink.offer(SourceLabels(info, tuple(labels[info.name])))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[asyncio.Task[None]]:
        task = asyncio.create_task(self.sink.run())
        try:
            yield task
        finally:
            self.sink.close()
            await asyncio.wait_for(task, 10)

    async def until(self, condition: Callable[[], bool]) -> None:
        # The other side is another process: there is no event to wait for.
        async with asyncio.timeout(15):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_state(self, state: str) -> None:
        await self.until(lambda: self.sink.state == state)


async def wait_for(listener: Listener, condition: Callable[[Listener], bool], what: str = "") -> None:
    await asyncio.to_thread(listener.wait, condition, what)


async def wait_for_payload(listener: Listener, topic: str, payload: str) -> None:
    await wait_for(listener, lambda it: payload in it.on(topic), f"{payload} on {topic}")


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)
