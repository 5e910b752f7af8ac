"""Publishes what a session has to publish over one connection, and passes on what arrives on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import aiomqtt

from clapstream.sinks.mqtt.connection import Connection
from clapstream.sinks.mqtt.detection import Key
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.reasons import reason_code, reason_of
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.timeouts import Timeouts

_logger = logging.getLogger(__name__)

BATCH = 8
"""Messages that are sent before the first is acknowledged: a distant broker costs one round trip for all."""


class NameTakenError(Exception):
    """Another installation claimed the node's name while we used it."""


class Publisher:
    """Serves one connection until `closing` is set and nothing is left to publish.

    `wake` is set when there may be something to publish; `on_published` is called after every batch.
    `retry_at_once` tells, once the connection is lost, that the next one begins with smaller messages.
    """

    def __init__(
        self,
        connection: Connection,
        session: MqttSession,
        spool: Spool,
        timeouts: Timeouts,
        *,
        wake: asyncio.Event,
        closing: asyncio.Event,
        on_published: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._session = session
        self._spool = spool
        self._timeouts = timeouts
        self._wake = wake
        self._closing = closing
        self._on_published = on_published
        self.retry_at_once = False

    async def run(self, *, name_was_ours: bool) -> None:
        """Announce the node, then publish and handle messages; raises MqttError and NameTakenError.

        At the end it publishes `offline`, since DISCONNECT suppresses the will; not if the name is not ours.
        """
        try:
            await self._subscribe()
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read())
                await self._publish([self._session.claim()])
                await self._wait_for_retained(name_was_ours)
                await self._publish(self._session.first_messages())
                await self._publish_until_closed()
                reader.cancel()
        except BaseException as fault:
            self.retry_at_once = self._report_lost_connection(fault)
            raise
        finally:
            if self._session.presence.taken_by is None:
                with contextlib.suppress(aiomqtt.MqttError):
                    await self._connection.publish(self._session.presence.offline(), self._timeouts.disconnect)

    def _report_lost_connection(self, fault: BaseException) -> bool:
        """Tell the session which messages the broker may have ended the connection for, if it did."""
        unacknowledged = list(self._connection.unacknowledged.values())
        if not unacknowledged or reason_code(fault) is None:
            return False
        return self._session.on_connection_lost(unacknowledged, reason_of(fault))

    async def _subscribe(self) -> None:
        for topic, qos in self._session.incoming.subscriptions:
            refusal = await self._connection.subscribe(topic, qos)
            if refusal is not None:
                _logger.warning("broker refused the subscription to %s (%s)", topic, refusal)

    async def _wait_for_retained(self, name_was_ours: bool) -> None:
        """Wait for our own discovery payloads, and for the claim of another where the name was not ours so far."""
        if not name_was_ours:
            await asyncio.sleep(self._timeouts.retained)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._session.incoming.discovery_read.wait(), self._timeouts.retained)

    async def _publish_until_closed(self) -> None:
        while True:
            self._wake.clear()
            await self._publish(self._session.next_messages(BATCH))
            if detection := self._session.next_detection():
                key, message = detection
                await self._publish([message], key)
                # A process killed here repeats one detection after its restart, not all that the disk is behind.
                await self._spool.wait_for_disk(self._timeouts.disk)
            elif self._session.idle:
                if self._closing.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._session.next_due_seconds())

    async def _publish(self, messages: Sequence[Message], key: Key | None = None) -> None:
        """Publish in order, a few at a time; raises MqttError unless the broker answers each."""
        batch = 1 if self._session.refusals.one_at_a_time else min(BATCH, self._connection.limits.in_flight)
        answers = await self._connection.publish_all(messages, batch)
        for message, refusal in zip(messages, answers, strict=True):
            self._session.on_answer(message, refusal, key)
        self._on_published()

    async def _read(self) -> None:
        """Handle messages until cancelled; raises MqttError when the connection is lost."""
        async for message in self._connection.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            self._session.incoming.receive(message.topic.value, payload, retained=bool(message.retain))
            if self._session.presence.taken_by is not None:
                raise NameTakenError
            self._wake.set()
