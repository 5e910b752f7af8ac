"""Updates to an MQTT broker, commands from it: everything that speaks MQTT is here.

One loop makes the first connection and every later one; nothing upstream waits for it. What is said, and how
messages are answered, is in `conversation`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from clapstream.backoff import Backoff
from clapstream.config.settings import MqttSettings, TlsSettings
from clapstream.sinks.mqtt import discovery, payloads
from clapstream.sinks.mqtt.outbox import Message
from clapstream.sinks.mqtt.session import MqttSession
from clapstream.sinks.mqtt.spool import Spool, SpoolLimits
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import LabelInfo, Update

_logger = logging.getLogger(__name__)
_client_logger = logging.getLogger(f"{__name__}.client")
# The libraries log what is handled here (full queues, broken connections), again and again.
_client_logger.setLevel(logging.CRITICAL)

State = Literal["connecting", "online", "offline"]

BATCH = 8
"""Messages that are under way at once: a distant broker costs one round trip for all of them."""

LARGEST_PACKET_BYTES = discovery.LARGEST_PAYLOAD_BYTES
"""The broker keeps larger messages to itself (MQTT 5)."""

LARGEST_INBOX = 1_000
SESSION_SECONDS = 3_600
ROWS_WITHOUT_SPOOL = 100
SHORTEST_AGE_SECONDS = 60.0
"""Detections on their way to a broker that is there are never too old."""

_BROKER_FAULTS = (aiomqtt.MqttError, OSError, UnicodeError)
"""Unreachable, refusing or lost broker; unreadable password or certificate file; a host name that is none."""

_CLEARER = {"Disconnected during message iteration": "connection lost", "Operation timed out": "no answer"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for the broker, in seconds."""

    connect: float = 3.0
    """For a TCP connection, and again for TLS."""
    reply: float = 10.0
    first_retry: float = 1.0
    longest_retry: float = 60.0
    steady: float = 10.0
    """A connection that lasted this long was a good one: after it, retries start anew."""
    retained: float = 1.0
    """For our own retained discovery payload after subscribing; there is none before the first start."""
    flush: float = 2.0
    """For what is still to be said when the sink is closed."""
    disk: float = 1.0
    """For the spool's file to follow; the disk may hang."""
    farewell: float = 0.3
    """For `offline`, and again for DISCONNECT."""


class MqttSink:
    """Publishes the updates of one node.

    `on_listening(source_slug, listening)` is called for every command on `listening/set`; `on_state` for every
    change of `state`. Without `spool_path` waiting detections do not survive the process.
    """

    def __init__(
        self,
        settings: MqttSettings,
        *,
        node: str,
        sources: Sequence[str],
        labels: Sequence[LabelInfo],
        model: str,
        version: str,
        spool_path: Path | None,
        on_listening: Callable[[str, bool], None],
        on_state: Callable[[State], None] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._settings = settings
        self._topics = Topics.of(settings.base_topic, node, settings.discovery_prefix)
        self._spool = _spool(settings, spool_path)
        self._session = MqttSession(
            self._topics,
            discovery.Node(node, model, version, tuple(discovery.Source.of(name) for name in sources)),
            labels=labels,
            spool=self._spool,
            on_listening=on_listening,
        )
        self._on_state = on_state
        self._timeouts = timeouts or Timeouts()
        self._backoff = Backoff(self._timeouts.first_retry, self._timeouts.longest_retry)
        self._address = f"{settings.host}:{settings.port}"
        self._state: State = "connecting"
        self._connected_at = 0.0
        self._told: set[str] = set()
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
        self._wake.set()

    def close(self) -> None:
        """Say what is left to say within the grace period, then `offline`, and let `run` return."""
        self._closing.set()
        self._wake.set()
        if self._deadline is not None and self._deadline.when() is None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._timeouts.flush)

    async def run(self) -> None:
        """Keep connected until `close`."""
        await self._spool.open()
        try:
            async with asyncio.timeout(None) as self._deadline:
                await self._keep_connected()
        except TimeoutError:
            _logger.warning("the broker did not take the last messages in time")
        finally:
            self._change_state("offline")
            await self._spool.close()

    async def _keep_connected(self) -> None:
        while not self._closing.is_set():
            try:
                async with self._connection() as client:
                    self._session.connected()
                    self._tell_connected()
                    await self._serve(client)
                return
            except* _BROKER_FAULTS as faults:
                self._tell_lost(_reason(faults))
            finally:
                self._session.end()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._backoff.next_seconds())

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncGenerator[aiomqtt.Client]:
        """A connection that says `offline` itself at the end, since a clean DISCONNECT suppresses the will."""
        client = await self._new_client()
        try:
            await client.__aenter__()
        except BaseException:
            _hang_up(client)
            raise
        try:
            yield client
        finally:
            client.timeout = self._timeouts.farewell
            with contextlib.suppress(aiomqtt.MqttError):
                await client.publish(self._topics.status, payloads.OFFLINE, qos=1, retain=True)
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _new_client(self) -> aiomqtt.Client:
        """A client with the password and certificates as they are on disk now; raises OSError and UnicodeError."""
        settings = self._settings
        user, password, tls_context = await asyncio.to_thread(_secrets, settings)
        client = _Client(
            settings.host,
            settings.port,
            username=user,
            password=password,
            tls_context=tls_context,
            # The node's own name: the broker then closes a connection of ours that it has not noticed to be dead.
            identifier=self._topics.device_id,
            will=aiomqtt.Will(self._topics.status, payloads.OFFLINE, qos=1, retain=True),
            keepalive=settings.keepalive_seconds,
            timeout=self._timeouts.reply,
            max_queued_incoming_messages=LARGEST_INBOX,
            logger=_client_logger,
            **_session_options(settings.protocol),
        )
        # Neither a cancelled task nor the end of the event loop can interrupt the thread that connects.
        client._client.connect_timeout = self._timeouts.connect
        return client

    async def _serve(self, client: aiomqtt.Client) -> None:
        """Introduce the node, then publish and obey until closed; raises MqttError when the connection is lost."""
        for topic, qos in self._session.subscriptions:
            granted = await client.subscribe(topic, qos=qos)
            if any(getattr(code, "is_failure", False) for code in granted):
                _logger.warning("the broker at %s does not allow us to subscribe to %s", self._address, topic)
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(self._read(client))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._session.earlier_known.wait(), self._timeouts.retained)
            await self._send(client, self._session.begin())
            await self._publish_until_closed(client)
            reader.cancel()

    async def _publish_until_closed(self, client: aiomqtt.Client) -> None:
        while True:
            self._wake.clear()
            await self._send(client, self._session.due(BATCH))
            if detection := self._session.next_detection():
                key, message = detection
                await self._send(client, [message])
                self._session.delivered(key)
                # A process killed here repeats one detection after its restart, not all that the disk is behind.
                await self._spool.settled(self._timeouts.disk)
            elif self._session.idle:
                if self._closing.is_set():
                    return
                await self._wake.wait()

    async def _send(self, client: aiomqtt.Client, messages: Sequence[Message]) -> None:
        """Publish in order, a few at a time; raises MqttError unless the broker acknowledges each."""
        for start in range(0, len(messages), BATCH):
            sent = [
                client.publish(message.topic, message.payload, qos=1, retain=message.retain)
                for message in messages[start : start + BATCH]
            ]
            # Waiting for all, also after a failure, leaves no publication behind that would fail unseen.
            for outcome in await asyncio.gather(*sent, return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _read(self, client: aiomqtt.Client) -> None:
        """Obey until cancelled; raises MqttError when the connection is lost."""
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            self._session.receive(message.topic.value, payload, retained=bool(message.retain))
            self._wake.set()

    def _tell_connected(self) -> None:
        self._told.clear()
        self._connected_at = time.monotonic()
        _logger.info("connected to the broker at %s", self._address)
        self._change_state("online")

    def _tell_lost(self, reason: str) -> None:
        """Warn once until the broker is back; another reason meanwhile is told, too."""
        if self._state == "online" and time.monotonic() - self._connected_at >= self._timeouts.steady:
            self._backoff.reset()
        level = logging.INFO if self._told else logging.WARNING
        if reason not in self._told:
            self._told.add(reason)
            _logger.log(level, "the broker at %s cannot be used (%s); trying until it can", self._address, reason)
        self._change_state("offline")

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


def _secrets(settings: MqttSettings) -> tuple[str | None, str | None, ssl.SSLContext | None]:
    """User, password and TLS context, read from disk; raises OSError and UnicodeError."""
    return settings.user(), settings.password(), _tls_context(settings.tls) if settings.tls else None


def _tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """A context that checks the broker's certificate and name; raises OSError for unusable files."""
    context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    context.sslsocket_class = _TlsSocket
    return context


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Raises OSError when the broker cannot be trusted or does not trust us."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _session_options(protocol: str) -> dict[str, Any]:
    """Options for a session that the broker keeps for a while after a connection broke."""
    if protocol == "3.1.1":
        return {"protocol": aiomqtt.ProtocolVersion.V311, "clean_session": False}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = SESSION_SECONDS
    properties.MaximumPacketSize = LARGEST_PACKET_BYTES
    return {"protocol": aiomqtt.ProtocolVersion.V5, "clean_start": False, "properties": properties}


class _Client(aiomqtt.Client):
    """aiomqtt's client, except that it begins to watch its socket at once.

    The original begins a turn of the event loop later. When the write it is about breaks the connection, the socket
    is closed by then: a traceback in the log, or the next connection's socket watched under the old number.
    """

    def _on_socket_register_write(self, client: paho.Client, userdata: object, sock: Any) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # the thread that connects
            super()._on_socket_register_write(client, userdata, sock)
        else:
            loop.add_writer(sock.fileno(), client.loop_write)


def _hang_up(client: aiomqtt.Client) -> None:
    """Close the socket of an attempt that failed.

    aiomqtt leaves it open when the broker does not answer, and has no call for it. A broker that was only paused
    would later serve it, and thereby close the connection that we have by then.
    """
    # Where the attempt was cancelled, aiomqtt's callback stumbles over its own cancelled future.
    with contextlib.suppress(asyncio.CancelledError):
        client._client.disconnect()


def _reason(faults: BaseExceptionGroup[BaseException]) -> str:
    """The first fault in words."""
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    text = str(fault) or type(fault).__name__
    return _CLEARER.get(text, text)
