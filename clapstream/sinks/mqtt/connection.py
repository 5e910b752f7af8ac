"""One connection to the broker: aiomqtt's client, and what the broker says that aiomqtt does not pass on.

aiomqtt 2.x drops the reason codes of acknowledgements and the limits in CONNACK. Both come from the callbacks of
paho-mqtt, its documented interface, which are chained in front of aiomqtt's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from clapstream.config import MqttSettings
from clapstream.sinks.mqtt import payloads, reasons
from clapstream.sinks.mqtt.outbox import Message
from clapstream.sinks.mqtt.packets import packet_bytes
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.tls import tls_context

_client_logger = logging.getLogger(f"{__name__}.client")
# The libraries log what is handled here (full queues, broken connections), again and again.
_client_logger.setLevel(logging.CRITICAL)

LARGEST_PACKET_BYTES = 1 << 20
"""The broker keeps larger messages to itself (MQTT 5)."""
LARGEST_INBOX = 1_000
SESSION_SECONDS = 3_600

QoS = Literal[0, 1]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a broker says in CONNACK that it takes; the defaults are those of the specification."""

    packet_bytes: int | None = None
    in_flight: int = 65_535
    qos: QoS = 1
    retains: bool = True

    @classmethod
    def of(cls, properties: Properties | None) -> Limits:
        """The limits in the properties of CONNACK."""
        return cls(
            packet_bytes=getattr(properties, "MaximumPacketSize", None),
            in_flight=getattr(properties, "ReceiveMaximum", 65_535),
            qos=0 if getattr(properties, "MaximumQoS", 1) == 0 else 1,
            retains=bool(getattr(properties, "RetainAvailable", 1)),
        )


class Connection:
    """Publishes and subscribes; `unacknowledged` are the topics of publications that the broker did not answer."""

    def __init__(self, client: aiomqtt.Client, timeouts: Timeouts) -> None:
        self._client = client
        self._paho = client._client
        self._timeouts = timeouts
        self._waiting: dict[int, asyncio.Future[ReasonCode]] = {}
        self._lost_code: ReasonCode | None = None
        self.limits = Limits()
        self.unacknowledged: dict[int, Message] = {}
        self._chain_callbacks()

    @property
    def messages(self) -> aiomqtt.client.MessagesIterator:
        """What the broker sends; raises MqttError when the connection is lost."""
        return self._client.messages

    async def subscribe(self, topic: str, qos: int) -> str | None:
        """Subscribe; returns the broker's reason if it refuses, raises MqttError if the connection is lost."""
        try:
            codes = await self._client.subscribe(topic, qos=qos)
        except aiomqtt.MqttError as error:
            raise self._because(error) from error
        for code in codes:
            if isinstance(code, ReasonCode) and code.is_failure:
                return str(code)
        return None

    async def publish(self, message: Message, timeout_seconds: float | None = None) -> str | None:
        """Publish; returns the reason in words if the broker does not take it.

        Raises MqttError when the connection is lost or the broker does not answer in time.
        """
        most, size = self.limits.packet_bytes, packet_bytes(message)
        if most is not None and size > most:
            return f"Packet too large: {size} bytes, the broker takes {most}"
        if message.retain and not self.limits.retains and not message.payload:
            return None  # nothing is kept there that could be deleted
        retain = message.retain and self.limits.retains
        info = self._paho.publish(message.topic, message.payload, qos=self.limits.qos, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise self._because(aiomqtt.MqttError(reasons.error_words(info.rc)))
        answer = asyncio.get_running_loop().create_future()
        self._waiting[info.mid], self.unacknowledged[info.mid] = answer, message
        try:
            async with asyncio.timeout(timeout_seconds or self._timeouts.reply):
                code = await answer
        except TimeoutError:
            self.unacknowledged.pop(info.mid, None)
            raise aiomqtt.MqttError("Operation timed out") from None
        finally:
            self._waiting.pop(info.mid, None)
        return reasons.describe(code) if code.is_failure else None

    def _chain_callbacks(self) -> None:
        client = self._paho
        connected, published, disconnected = client.on_connect, client.on_publish, client.on_disconnect
        assert connected is not None and published is not None and disconnected is not None

        def on_connect(*arguments: Any) -> Any:
            self.limits = Limits.of(arguments[4])
            return connected(*arguments)

        def on_publish(*arguments: Any) -> Any:
            self._answered(arguments[2], arguments[3])
            return published(*arguments)

        def on_disconnect(*arguments: Any) -> Any:
            self._lost(arguments[3])
            result = disconnected(*arguments)
            # Right after CONNACK, aiomqtt forgets the reason without looking at it, which asyncio complains about.
            if self._client._disconnected.done():
                self._client._disconnected.exception()
            return result

        client.on_connect, client.on_publish, client.on_disconnect = on_connect, on_publish, on_disconnect

    def _answered(self, mid: int, code: ReasonCode) -> None:
        self.unacknowledged.pop(mid, None)
        answer = self._waiting.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(code)

    def _because(self, error: aiomqtt.MqttError) -> aiomqtt.MqttError:
        """The reason that the broker gave for the end of the connection, if it did, instead of its consequence."""
        return error if self._lost_code is None else aiomqtt.MqttCodeError(self._lost_code)

    def _lost(self, code: ReasonCode) -> None:
        self._lost_code = code
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(aiomqtt.MqttCodeError(code))


class Connector:
    """Makes connections of one client; a broker that cannot keep the will as it should be gets a lesser one."""

    def __init__(self, settings: MqttSettings, timeouts: Timeouts, status_topic: str) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._status_topic = status_topic
        self._will_qos: QoS = 1
        self._will_retain = True

    @contextlib.asynccontextmanager
    async def visit(self, client_id: str) -> AsyncGenerator[Connection]:
        """A connection that leaves nothing behind: no session, no will."""
        async with self._open(client_id, will=None, keep_session=False) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def connect(self, client_id: str) -> AsyncGenerator[Connection]:
        """A connection with a session that the broker keeps, and `offline` as the will."""
        will = aiomqtt.Will(self._status_topic, payloads.OFFLINE, qos=self._will_qos, retain=self._will_retain)
        async with self._open(client_id, will=will, keep_session=True) as connection:
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
            self._lower_the_will(fault)
            _hang_up(client)
            raise
        try:
            yield connection
        finally:
            client.timeout = self._timeouts.farewell
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _new_client(self, client_id: str, will: aiomqtt.Will | None, keep_session: bool) -> aiomqtt.Client:
        """A client with the password and certificates as they are on disk now; raises OSError and UnicodeError."""
        settings = self._settings
        user, password, context = await asyncio.to_thread(_secrets, settings)
        client = _Client(
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
            max_queued_incoming_messages=LARGEST_INBOX,
            logger=_client_logger,
            **_session_options(settings.protocol, keep_session),
        )
        # Neither a cancelled task nor the end of the event loop can interrupt the thread that connects.
        client._client.connect_timeout = self._timeouts.connect
        return client

    def _lower_the_will(self, fault: BaseException) -> None:
        code = reasons.reason_code(fault)
        if code is not None and code.value == reasons.QOS_NOT_SUPPORTED:
            self._will_qos = 0
        elif code is not None and code.value == reasons.RETAIN_NOT_SUPPORTED:
            self._will_retain = False


def _secrets(settings: MqttSettings) -> tuple[str | None, str | None, Any]:
    """User, password and TLS context, read from disk; raises OSError and UnicodeError."""
    return settings.user(), settings.password(), tls_context(settings.tls) if settings.tls else None


def _session_options(protocol: str, keep_session: bool) -> dict[str, Any]:
    """Options for a session that the broker keeps for a while after a connection broke, or for none."""
    if protocol == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": not keep_session}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_SECONDS if keep_session else 0
    properties.MaximumPacketSize = LARGEST_PACKET_BYTES
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": not keep_session, "properties": properties}


class _Client(aiomqtt.Client):
    """aiomqtt's client, except that it begins to watch its socket for writing at once.

    aiomqtt 2.5 begins a turn of the event loop later. When the write it is about breaks the connection, the socket
    is closed by then: a traceback in the log, or the next connection's socket watched under the old number. What
    the write raises becomes the end of the connection, as in aiomqtt.
    """

    def _on_socket_register_write(self, client: paho.Client, userdata: object, sock: Any) -> None:
        def write() -> None:
            try:
                client.loop_write()
            except Exception as error:
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the thread that connects
            super()._on_socket_register_write(client, userdata, sock)
        else:
            loop.add_writer(sock.fileno(), write)


def _hang_up(client: aiomqtt.Client) -> None:
    """Close the socket of an attempt that failed.

    aiomqtt leaves it open when the broker does not answer, and has no call for it. A broker that was only paused
    would later serve it, and thereby close the connection that we have by then.
    """
    # Where the attempt was cancelled, aiomqtt's callback stumbles over its own cancelled future.
    with contextlib.suppress(asyncio.CancelledError):
        client._client.disconnect()


async def publish_all(connection: Connection, messages: Sequence[Message], batch: int) -> list[str | None]:
    """Publish in order, `batch` at a time; returns a reason for each that was refused, raises MqttError."""
    answers: list[str | None] = []
    for start in range(0, len(messages), batch):
        sent = [connection.publish(message) for message in messages[start : start + batch]]
        # Waiting for all, also after a failure, leaves no publication behind that would fail unseen.
        for outcome in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(outcome)
    return answers
