"""Whether a node's name is free, asked of the broker before anything is published.

The connection for it has no will, so that the broker announces nothing in the name of another installation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Literal

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.connection import Connection
from clapstream.sinks.mqtt.owner import Owner
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics

Verdict = Literal["wait", "ours", "free", "taken over", "in use"]


class NameCheck:
    """Decides from what a broker sends about a node's name whether we may use it.

    `contested` tells that another installation used the name when we looked last, or took it from us: then the name
    is free only once that one is gone. `now` is in seconds of any monotonic clock.
    """

    def __init__(self, topics: Topics, our_id: str, timeouts: Timeouts, *, contested: bool, now: float) -> None:
        self._topics = topics
        self._our_id = our_id
        self._timeouts = timeouts
        self._opened = self._alive_at = now
        self._offline_since: float | None = None
        self._contested = contested
        self.owner: Owner | None = None

    @property
    def subscriptions(self) -> Sequence[str]:
        """The topics to subscribe to."""
        return (self._topics.status, self._topics.owner)

    def receive(self, topic: str, payload: bytes, now: float) -> None:
        """Handle a message, retained or not."""
        if topic == self._topics.owner:
            self.owner = Owner.read(self._topics, payload)
            self._alive_at = now
        elif topic == self._topics.status:
            offline = payload == payloads.OFFLINE.encode()
            self._offline_since = (self._offline_since or now) if offline else None
            self._alive_at = now

    def verdict(self, now: float) -> Verdict:
        """Whether the name is ours to use; `in use` may change later."""
        owner = self.owner
        if owner is not None and owner.id == self._our_id:
            return "ours"
        if now - self._opened < self._timeouts.retained and (owner is None or self._offline_since is None):
            return "wait"
        if now - self._alive_at >= self._timeouts.owner_silence:
            return "free" if owner is None else "taken over"
        if owner is None and not self._contested:
            return "free"
        if self._offline_since is not None:
            grace = self._timeouts.takeover if self._contested else 0.0
            if now - self._offline_since >= grace:
                return "taken over"
        self._contested = True
        return "in use"


async def wait_for_name(
    connection: Connection,
    check: NameCheck,
    *,
    on_in_use: Callable[[Owner | None], None],
    closing: asyncio.Event,
    poll_seconds: float,
) -> Verdict:
    """Wait until the name can be used, or until `closing` is set while it is in use; raises MqttError.

    `on_in_use` is called, again and again, with the installation that uses it.
    """
    for topic in check.subscriptions:
        await connection.subscribe(topic, 1)
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(_read(connection, check))
        while (verdict := check.verdict(time.monotonic())) in ("wait", "in use"):
            if verdict == "in use":
                on_in_use(check.owner)
                if closing.is_set():
                    break
            await asyncio.sleep(poll_seconds)
        reader.cancel()
    return verdict


async def _read(connection: Connection, check: NameCheck) -> None:
    async for message in connection.messages:
        payload = message.payload if isinstance(message.payload, bytes) else b""
        check.receive(message.topic.value, payload, time.monotonic())
