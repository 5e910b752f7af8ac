"""The MQTT sink: keeps a connection to the broker and publishes the updates of one node.

One loop makes the first connection and every later one; nothing upstream waits for it. Before it publishes
anything, it asks the broker whether another installation uses the node's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import aiomqtt

from clapstream.config import MqttSettings
from clapstream.control import Handle
from clapstream.process.backoff import Backoff
from clapstream.sinks.mqtt.connection import Connection
from clapstream.sinks.mqtt.connection_log import ConnectionLog
from clapstream.sinks.mqtt.connector import Connector
from clapstream.sinks.mqtt.delivery import Delivery
from clapstream.sinks.mqtt.delivery_report import DeliveryReport
from clapstream.sinks.mqtt.entities import Node
from clapstream.sinks.mqtt.name_check import NameCheck, wait_for_name
from clapstream.sinks.mqtt.node_state import NodeState
from clapstream.sinks.mqtt.owner import NOBODY, Owner
from clapstream.sinks.mqtt.publisher import NameTakenError, Publisher
from clapstream.sinks.mqtt.reasons import reason_of
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import SourceInfo, Update

State = Literal["connecting", "online", "offline", "name in use"]

_BROKER_FAULTS = (aiomqtt.MqttError, OSError, UnicodeError)
"""Unreachable, refusing or lost broker; unreadable password or certificate file; an invalid host name."""


class MqttSink:
    """Publishes the updates of one node.

    `on_command` is called for every command that arrives; `on_state` for every change of `state`; `on_delivery`
    for every change of what waits, is refused or was lost. Without a path for the spool in `state`, waiting
    detections do not survive the process.
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
        self._timeouts = timeouts or Timeouts()
        self._topics = Topics.of(settings.base_topic, node, settings.discovery_prefix)
        self._spool = Spool.configured(settings.spool, state.spool_path)
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
        self._backoff = Backoff(self._timeouts.first_retry, self._timeouts.longest_retry)
        self._log = ConnectionLog(settings, self._topics.node)
        self._report = DeliveryReport(self._spool.write_delivery, on_delivery)
        self._on_state = on_state
        self._state: State = "connecting"
        self._connected_at = 0.0
        self._name_contested = False
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None

    @property
    def state(self) -> State:
        """Whether the broker is connected."""
        return self._state

    def offer(self, update: Update) -> None:
        """Take an update; never blocks. Published when the broker is connected, or replaced by a newer one."""
        self._session.offer(update)
        self._report.update(self._session.delivery)
        self._wake.set()

    def close(self) -> None:
        """Publish what is left within the grace period, then `offline`, and let `run` return."""
        self._closing.set()
        self._wake.set()
        if self._deadline is not None and self._deadline.when() is None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.flush)

    async def run(self) -> None:
        """Keep connected until `close`."""
        self._log.starting()
        await self._spool.open()
        self._log.unconfigured_sources(self._session.unconfigured())
        try:
            async with asyncio.timeout(None) as self._deadline:
                await self._keep_connected()
        except TimeoutError:
            self._log.closed_too_late()
        finally:
            self._set_state("offline")
            self._report.write_last(self._session.delivery)
            await self._spool.close()

    async def _keep_connected(self) -> None:
        while not self._closing.is_set():
            try:
                previous_owner = await self._wait_for_name()
                if previous_owner is not None:
                    await self._serve(previous_owner)
                return
            except* _BROKER_FAULTS as faults:
                self._on_disconnect(faults)
            except* NameTakenError:
                self._name_contested = True
            finally:
                self._session.on_disconnect()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._backoff.next_seconds())

    async def _wait_for_name(self) -> Owner | None:
        """Wait until no other installation uses the node's name; publishes nothing.

        Returns the last owner; None if the sink is closed while the name is in use.
        """
        check = NameCheck(
            self._topics, self._owner.id, self._timeouts, contested=self._name_contested, now=time.monotonic()
        )
        async with self._connector.connect_without_session(f"clapstream-{self._owner.id}c") as connection:
            verdict = await wait_for_name(
                connection,
                check,
                on_in_use=self._on_name_in_use,
                closing=self._closing,
                poll_seconds=self._timeouts.retained / 20,
            )
        if verdict == "in use":
            return None
        if verdict == "taken over" and check.owner is not None:
            self._log.name_taken_over(check.owner)
        self._name_contested = False
        return check.owner or NOBODY

    async def _serve(self, previous_owner: Owner) -> None:
        """Connect and publish until closed; raises MqttError if the connection is lost."""
        async with self._connector.connect(f"clapstream-{self._owner.id}") as connection:
            self._session.on_connect(previous_owner, connection.limits.packet_bytes)
            self._on_connect(connection)
            publisher = Publisher(
                connection,
                self._session,
                self._spool,
                self._timeouts,
                wake=self._wake,
                closing=self._closing,
                on_published=lambda: self._report.update(self._session.delivery),
            )
            try:
                await publisher.run(name_was_ours=previous_owner.id == self._owner.id)
            finally:
                if publisher.retry_at_once:
                    self._backoff.reset()

    def _on_connect(self, connection: Connection) -> None:
        self._connected_at = time.monotonic()
        self._report.was_online = True
        self._log.connected(retains=connection.limits.retains)
        self._set_state("online")

    def _on_disconnect(self, faults: BaseExceptionGroup[Any]) -> None:
        if self._state == "online" and time.monotonic() - self._connected_at >= self._timeouts.stable:
            self._backoff.reset()
            self._log.connection_was_stable()
        was_connected = self._state in ("online", "name in use")
        self._log.disconnected(reason_of(faults, self._settings.protocol), was_connected=was_connected)
        self._set_state("offline")

    def _on_name_in_use(self, owner: Owner | None) -> None:
        # Also over a restart of the broker, after which the owner may be the slower one to come back.
        self._name_contested = True
        if self._state != "name in use":
            self._log.name_in_use(owner)
        self._set_state("name in use")

    def _set_state(self, state: State) -> None:
        if state == self._state:
            return
        self._state = state
        if self._on_state is not None:
            self._on_state(state)
