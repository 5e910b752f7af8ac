"""Updates to an MQTT broker, commands from it.

One loop makes the first connection and every later one; nothing upstream waits for it. Before it publishes
anything, it asks the broker whether the node's name belongs to another installation. What is said, and how
messages are answered, is in `session`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import aiomqtt

from clapstream.config import MqttSettings
from clapstream.control import Handle
from clapstream.process.backoff import Backoff
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.connection import Connection, Connector, publish_all
from clapstream.sinks.mqtt.delivery import Delivery, DeliveryFile
from clapstream.sinks.mqtt.detection import Key
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.node_state import NodeState
from clapstream.sinks.mqtt.outbox import Message
from clapstream.sinks.mqtt.ownership import NameCheck, Owner, Verdict
from clapstream.sinks.mqtt.reasons import reason_code, reason_of
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool, SpoolLimits
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import SourceInfo, Update

_logger = logging.getLogger(__name__)

State = Literal["connecting", "online", "offline", "name in use"]

BATCH = 8
"""Messages that are under way at once: a distant broker costs one round trip for all of them."""

ROWS_WITHOUT_SPOOL = 100
SHORTEST_AGE_SECONDS = 60.0
"""Detections on their way to a broker that is there are never too old."""

_BROKER_FAULTS = (aiomqtt.MqttError, OSError, UnicodeError)
"""Unreachable, refusing or lost broker; unreadable password or certificate file; a host name that is none."""


class _NameTakenError(Exception):
    """Another installation claimed the node's name while we used it."""


class MqttSink:
    """Publishes the updates of one node.

    `on_command` is called for every command that arrives; `on_state` for every
    change of `state`; `on_delivery` for every change of what waits, is refused or was lost. Without a path for the
    spool in `state` waiting detections do not survive the process.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        node: str,
        sources: Sequence[SourceInfo],
        model: str,
        version: str,
        state: NodeState,
        on_command: Handle,
        on_state: Callable[[State], None] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._settings = settings
        self._node = node
        self._timeouts = timeouts or Timeouts()
        self._topics = Topics.of(settings.base_topic, node, settings.discovery_prefix)
        self._spool = _spool(settings, state.spool_path)
        self._owner = Owner(state.installation_id, socket.gethostname())
        self._session = MqttSession(
            self._topics,
            Node(node, model, version, tuple(sources)),
            spool=self._spool,
            on_command=on_command,
            owner=self._owner,
            timeouts=self._timeouts,
        )
        self._connector = Connector(settings, self._timeouts, self._topics.status)
        self._on_state = on_state
        self._on_delivery = on_delivery
        self._delivery = Delivery()
        self._delivery_file = DeliveryFile(self._spool.keep_record)
        self._backoff = Backoff(self._timeouts.first_retry, self._timeouts.longest_retry)
        self._address = settings.address
        self._state: State = "connecting"
        self._connected_at = 0.0
        self._told: set[str] = set()
        self._contested = False
        self._was_online = False
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None

    @property
    def state(self) -> State:
        """How it stands with the broker."""
        return self._state

    def offer(self, update: Update) -> None:
        """Take an update; never blocks. Sent when the broker can be reached, or overtaken by a newer one."""
        self._session.offer(update)
        self._tell_delivery()
        self._wake.set()

    def close(self) -> None:
        """Say what is left to say within the grace period, then `offline`, and let `run` return."""
        self._closing.set()
        self._wake.set()
        if self._deadline is not None and self._deadline.when() is None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.flush)

    async def run(self) -> None:
        """Keep connected until `close`."""
        if self._settings.tls is not None and self._settings.tls.insecure_skip_host_check:
            _logger.warning(
                "mqtt.tls.insecure_skip_host_check is on: the broker's certificate may be for any name, so that "
                "anyone with a certificate of the same authority can read the password and all messages"
            )
        await self._spool.open()
        self._tell_unconfigured()
        try:
            async with asyncio.timeout(None) as self._deadline:
                await self._keep_connected()
        except TimeoutError:
            _logger.warning("broker at %s did not take the last messages in time", self._address)
        finally:
            self._change_state("offline")
            if self._was_online:
                self._delivery_file.note(self._session.delivery, at_once=True)
            await self._spool.close()

    async def _keep_connected(self) -> None:
        while not self._closing.is_set():
            try:
                owner = await self._until_the_name_is_ours()
                if owner is None:
                    return
                await self._serve(owner)
                return
            except* _BROKER_FAULTS as faults:
                self._tell_lost(faults)
            except* _NameTakenError:
                self._contested = True
            finally:
                self._session.end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._backoff.next_seconds())

    async def _until_the_name_is_ours(self) -> Owner | None:
        """Wait until no other installation uses the node's name; publishes nothing.

        Returns the last owner, an empty one if there was none; None if the sink is closed while the name is in use.
        """
        clock = time.monotonic
        check = NameCheck(self._topics, self._owner.id, self._timeouts, contested=self._contested, now=clock())
        async with self._connector.visit(f"clapstream-{self._owner.id}c") as connection:
            for topic in check.subscriptions:
                await connection.subscribe(topic, 1)
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read_about_owner(connection, check))
                while (verdict := check.verdict(clock())) in ("wait", "in use"):
                    if verdict == "in use":
                        self._tell_in_use(check.owner)
                        if self._closing.is_set():
                            break
                    await asyncio.sleep(self._timeouts.retained / 20)
                reader.cancel()
        if verdict == "in use":
            return None
        self._tell_verdict(verdict, check.owner)
        self._contested = False
        return check.owner or Owner("", "")

    async def _read_about_owner(self, connection: Connection, check: NameCheck) -> None:
        async for message in connection.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            check.receive(message.topic.value, payload, time.monotonic())

    async def _serve(self, earlier: Owner) -> None:
        """Connect, introduce the node, publish and obey until closed; raises MqttError if the broker is lost."""
        async with (
            self._connector.connect(f"clapstream-{self._owner.id}") as connection,
            self._farewell(connection),
        ):
            self._session.connected(earlier, connection.limits.packet_bytes)
            self._tell_connected(connection)
            for topic, qos in self._session.subscriptions:
                refusal = await connection.subscribe(topic, qos)
                if refusal is not None:
                    _logger.warning("broker refused the subscription to %s (%s)", topic, refusal)
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(connection))
                await self._send(connection, [self._session.claim()])
                await self._until_known(earlier)
                await self._send(connection, self._session.begin())
                await self._publish_until_closed(connection)
                reader.cancel()

    async def _until_known(self, earlier: Owner) -> None:
        """Wait for our own discovery payloads, and for another claim where the name was not ours so far."""
        if earlier.id != self._owner.id:
            await asyncio.sleep(self._timeouts.retained)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._session.earlier_known.wait(), self._timeouts.retained)

    @contextlib.asynccontextmanager
    async def _farewell(self, connection: Connection) -> AsyncGenerator[None]:
        """Say `offline` at the end, since DISCONNECT suppresses the will; nothing if the name is not ours."""
        try:
            yield
        except BaseException as fault:
            under_way = list(connection.unacknowledged.values())
            reason = reason_of(fault, self._settings.protocol)
            answered = reason_code(fault) is not None
            if under_way and answered and self._session.connection_lost(under_way, reason):
                self._backoff.reset()
            raise
        finally:
            if self._session.usurped is None:
                with contextlib.suppress(aiomqtt.MqttError):
                    offline = Message(self._topics.status, payloads.OFFLINE, retain=True)
                    await connection.publish(offline, self._timeouts.farewell)

    async def _publish_until_closed(self, connection: Connection) -> None:
        while True:
            self._wake.clear()
            await self._send(connection, self._session.due(BATCH))
            if detection := self._session.next_detection():
                key, message = detection
                await self._send(connection, [message], key)
                # A process killed here repeats one detection after its restart, not all that the disk is behind.
                await self._spool.settled(self._timeouts.disk)
            elif self._session.idle:
                if self._closing.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._session.next_due_seconds())

    async def _send(self, connection: Connection, messages: Sequence[Message], key: Key | None = None) -> None:
        """Publish in order, a few at a time; raises MqttError unless the broker answers each."""
        batch = 1 if self._session.refusals.one_at_a_time else min(BATCH, connection.limits.in_flight)
        answers = await publish_all(connection, messages, batch)
        for message, refusal in zip(messages, answers, strict=True):
            self._session.answered(message, refusal, key)
        self._tell_delivery()

    async def _read(self, connection: Connection) -> None:
        """Obey until cancelled; raises MqttError when the connection is lost."""
        async for message in connection.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            self._session.receive(message.topic.value, payload, retained=bool(message.retain))
            if self._session.usurped is not None:
                raise _NameTakenError
            self._wake.set()

    def _tell_unconfigured(self) -> None:
        if left := self._session.unconfigured():
            _logger.warning(
                "spool: %d detections of sources that are not configured any more (%s) are not published",
                sum(left.values()),
                ", ".join(sorted(left)),
            )

    def _tell_in_use(self, owner: Owner | None) -> None:
        # Also over a restart of the broker, after which the owner may be the slower one to come back.
        self._contested = True
        host = f" on host {owner.host}" if owner is not None and owner.host else ""
        if self._state != "name in use":
            _logger.warning(
                "node name %s is in use by another clapstream%s: nothing is published; give each its own `node`",
                self._topics.node,
                host,
            )
        self._change_state("name in use")

    def _tell_verdict(self, verdict: Verdict, owner: Owner | None) -> None:
        if verdict == "taken over" and owner is not None:
            _logger.warning(
                "the node name %s belonged to another installation of clapstream (host %s), which is offline: "
                "taking it over",
                self._topics.node,
                owner.host or "unknown",
            )

    def _tell_connected(self, connection: Connection) -> None:
        self._connected_at = time.monotonic()
        self._was_online = True
        _logger.info("connected to broker at %s", self._address)
        if not connection.limits.retains:
            _logger.warning(
                "broker at %s keeps no retained messages: after a restart Home Assistant knows no states",
                self._address,
            )
        self._change_state("online")

    def _tell_lost(self, faults: BaseExceptionGroup[Any]) -> None:
        """Warn once until the broker is back; another reason meanwhile is told, too."""
        reason = reason_of(faults, self._settings.protocol)
        was_online = self._state == "online"
        if was_online and time.monotonic() - self._connected_at >= self._timeouts.steady:
            self._backoff.reset()
            self._told.clear()
        level = logging.INFO if self._told else logging.WARNING
        if reason not in self._told:
            self._told.add(reason)
            was_connected = self._state in ("online", "name in use")
            what = "lost the connection to broker at" if was_connected else "cannot connect to broker at"
            _logger.log(level, "%s %s (%s); retrying", what, self._address, reason)
        self._change_state("offline")

    def _tell_delivery(self) -> None:
        """Also while the broker is away: a full spool drops detections then."""
        delivery = self._session.delivery
        if self._was_online or delivery.record():  # what an earlier process met counts until the broker is there
            self._delivery_file.note(delivery)
        if delivery != self._delivery:
            self._delivery = delivery
            if self._on_delivery is not None:
                self._on_delivery(delivery)

    def _change_state(self, state: State) -> None:
        if state == self._state:
            return
        self._state = state
        if self._on_state is not None:
            self._on_state(state)


def _spool(settings: MqttSettings, path: Path | None) -> Spool:
    """Without room on disk a few detections still pass through memory."""
    rows = settings.spool.max_messages
    age_seconds = max(settings.spool.max_age_seconds, SHORTEST_AGE_SECONDS)
    limits = SpoolLimits(rows=rows or ROWS_WITHOUT_SPOOL, age_seconds=age_seconds)
    return Spool(path if rows else None, limits=limits)
