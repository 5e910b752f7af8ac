"""One connection to the broker: publish, subscribe, and what the broker answers.

aiomqtt 2.x drops the reason codes of acknowledgements and the limits in CONNACK. Both come from the callbacks of
paho-mqtt, its documented interface; ours run before aiomqtt's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from clapstream.sinks.mqtt import reasons
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.timeouts import Timeouts

QoS = Literal[0, 1]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a broker as in CONNACK; the defaults are those of the specification."""

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
    """Publishes and subscribes; `unacknowledged` are the messages that the broker has not answered."""

    def __init__(self, client: aiomqtt.Client, timeouts: Timeouts) -> None:
        self._client = client
        self._paho = client._client
        self._timeouts = timeouts
        self._answers: dict[int, asyncio.Future[ReasonCode]] = {}
        self._disconnect_code: ReasonCode | None = None
        self.limits = Limits()
        self.unacknowledged: dict[int, Message] = {}
        self._add_callbacks()

    @property
    def messages(self) -> aiomqtt.client.MessagesIterator:
        """What the broker sends; raises MqttError when the connection is lost."""
        return self._client.messages

    async def subscribe(self, topic: str, qos: int) -> str | None:
        """Subscribe; returns the broker's reason if it refuses, raises MqttError if the connection is lost."""
        try:
            codes = await self._client.subscribe(topic, qos=qos)
        except aiomqtt.MqttError as error:
            raise self._with_reason(error) from error
        for code in codes:
            if isinstance(code, ReasonCode) and code.is_failure:
                return str(code)
        return None

    async def publish(self, message: Message, timeout_seconds: float | None = None) -> str | None:
        """Publish; returns the reason in words if the broker refuses the message.

        Raises MqttError when the connection is lost or the broker does not answer in time.
        """
        limit, size = self.limits.packet_bytes, message.packet_bytes
        if limit is not None and size > limit:
            return f"Packet too large: {size} bytes, the broker accepts {limit}"
        if message.retain and not self.limits.retains and not message.payload:
            return None  # the broker retains nothing that could be deleted
        retain = message.retain and self.limits.retains
        info = self._paho.publish(message.topic, message.payload, qos=self.limits.qos, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise self._with_reason(aiomqtt.MqttError(reasons.describe_error(info.rc)))
        answer = asyncio.get_running_loop().create_future()
        self._answers[info.mid], self.unacknowledged[info.mid] = answer, message
        try:
            async with asyncio.timeout(timeout_seconds or self._timeouts.reply):
                code = await answer
        except TimeoutError:
            self.unacknowledged.pop(info.mid, None)
            raise aiomqtt.MqttError("Operation timed out") from None
        finally:
            self._answers.pop(info.mid, None)
        return reasons.describe(code) if code.is_failure else None

    async def publish_all(self, messages: Sequence[Message], batch: int) -> list[str | None]:
        """Publish in order, `batch` at a time; returns a reason for each that was refused, raises MqttError."""
        answers: list[str | None] = []
        for start in range(0, len(messages), batch):
            publications = [self.publish(message) for message in messages[start : start + batch]]
            # Waiting for all, also after a failure, leaves no publication behind that would fail unseen.
            for outcome in await asyncio.gather(*publications, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
                answers.append(outcome)
        return answers

    def _add_callbacks(self) -> None:
        client = self._paho
        connected, published, disconnected = client.on_connect, client.on_publish, client.on_disconnect
        assert connected is not None and published is not None and disconnected is not None

        def on_connect(*arguments: Any) -> Any:
            self.limits = Limits.of(arguments[4])
            return connected(*arguments)

        def on_publish(*arguments: Any) -> Any:
            self._on_acknowledgement(arguments[2], arguments[3])
            return published(*arguments)

        def on_disconnect(*arguments: Any) -> Any:
            self._on_disconnect(arguments[3])
            result = disconnected(*arguments)
            # Right after CONNACK, aiomqtt drops the reason without retrieving it, which asyncio would log.
            if self._client._disconnected.done():
                self._client._disconnected.exception()
            return result

        client.on_connect, client.on_publish, client.on_disconnect = on_connect, on_publish, on_disconnect

    def _on_acknowledgement(self, mid: int, code: ReasonCode) -> None:
        self.unacknowledged.pop(mid, None)
        answer = self._answers.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(code)

    def _on_disconnect(self, code: ReasonCode) -> None:
        self._disconnect_code = code
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(aiomqtt.MqttCodeError(code))

    def _with_reason(self, error: aiomqtt.MqttError) -> aiomqtt.MqttError:
        """The reason that the broker gave for the end of the connection, if it gave one, else the error."""
        return error if self._disconnect_code is None else aiomqtt.MqttCodeError(self._disconnect_code)
