"""Connects to the broker as the settings say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from clapstream.config import MqttSettings
from clapstream.sinks.mqtt import payloads, reasons
from clapstream.sinks.mqtt.client import Client, close_socket
from clapstream.sinks.mqtt.connection import Connection, QoS
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.tls import tls_context

_client_logger = logging.getLogger(f"{__name__}.client")
# The libraries log what is handled here (full queues, broken connections), again and again.
_client_logger.setLevel(logging.CRITICAL)

MAX_PACKET_BYTES = 1 << 20
"""The broker does not send us larger messages (MQTT 5)."""
MAX_INCOMING_MESSAGES = 1_000
SESSION_SECONDS = 3_600


class Connector:
    """Opens connections; a broker that refuses QoS 1 or retained messages gets a will without them."""

    def __init__(self, settings: MqttSettings, timeouts: Timeouts, status_topic: str) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._status_topic = status_topic
        self._will_qos: QoS = 1
        self._will_retain = True

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str) -> AsyncGenerator[Connection]:
        """A connection with a session that the broker keeps, and `offline` as the will."""
        will = aiomqtt.Will(self._status_topic, payloads.OFFLINE, qos=self._will_qos, retain=self._will_retain)
        async with self._open(client_id, will=will, keep_session=True) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def connect_without_session(self, client_id: str) -> AsyncGenerator[Connection]:
        """A connection of which the broker keeps nothing: no session, no will."""
        async with self._open(client_id, will=None, keep_session=False) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _open(
        self, client_id: str, *, will: aiomqtt.Will | None, keep_session: bool
    ) -> AsyncGenerator[Connection]:
        client = await self._new_client(client_id, will, keep_session)
        connection = Connection(client, self._timeouts)
        try:
            await client.__aenter__()
        except BaseException as fault:
            self._reduce_will(fault)
            close_socket(client)
            raise
        try:
            yield connection
        finally:
            client.timeout = self._timeouts.disconnect
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _new_client(self, client_id: str, will: aiomqtt.Will | None, keep_session: bool) -> aiomqtt.Client:
        """A client with the password and certificates as they are on disk now; raises OSError and UnicodeError."""
        settings = self._settings
        user, password, context = await asyncio.to_thread(_read_secrets, settings)
        client = Client(
            settings.host,
            settings.port,
            username=user,
            password=password,
            tls_context=context,
            identifier=client_id,
            will=will,
            transport=settings.transport,
            websocket_path=settings.websocket_path if settings.transport == "websockets" else None,
            keepalive=settings.keepalive_seconds,
            timeout=self._timeouts.reply,
            max_queued_incoming_messages=MAX_INCOMING_MESSAGES,
            logger=_client_logger,
            **_session_options(settings.protocol, keep_session),
        )
        # Neither a cancelled task nor the end of the event loop can interrupt the thread that connects.
        client._client.connect_timeout = self._timeouts.connect
        return client

    def _reduce_will(self, fault: BaseException) -> None:
        code = reasons.reason_code(fault)
        if code is not None and code.value == reasons.QOS_NOT_SUPPORTED:
            self._will_qos = 0
        elif code is not None and code.value == reasons.RETAIN_NOT_SUPPORTED:
            self._will_retain = False


def _read_secrets(settings: MqttSettings) -> tuple[str | None, str | None, Any]:
    """User, password and TLS context, read from disk; raises OSError and UnicodeError."""
    return settings.user(), settings.password(), tls_context(settings.tls) if settings.tls else None


def _session_options(protocol: str, keep_session: bool) -> dict[str, Any]:
    """Options for a session that the broker keeps for a while after the connection ended, or for none."""
    if protocol == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not keep_session}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_SECONDS if keep_session else 0
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": not keep_session, "properties": properties}
