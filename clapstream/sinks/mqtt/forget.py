"""Deletes what a node left on the broker: its retained topics, and its device in Home Assistant."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiomqtt

from clapstream.config import MqttSettings
from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.connection import Connection
from clapstream.sinks.mqtt.connector import Connector
from clapstream.sinks.mqtt.message import Message
from clapstream.sinks.mqtt.reasons import reason_of
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics

MAX_SECONDS = 30.0
"""For a broker that retains more than it can send in this time."""


class BrokerError(Exception):
    """The broker cannot be reached, or does not allow what is needed."""


class NodeOnlineError(Exception):
    """The node is online: it would publish everything again."""


@dataclass
class Forgotten:
    """Topics that were deleted, and topics that the broker did not let us delete, with its reason."""

    deleted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def forget_node(
    settings: MqttSettings, topics: Topics, *, force: bool, timeouts: Timeouts | None = None
) -> Forgotten:
    """Delete everything that is retained for a node; raises BrokerError, and NodeOnlineError without `force`."""
    try:
        return asyncio.run(_forget(settings, topics, force, timeouts or Timeouts()))
    except (aiomqtt.MqttError, OSError, UnicodeError, ExceptionGroup) as fault:
        address = settings.address
        raise BrokerError(f"cannot use broker at {address} ({reason_of(fault, settings.protocol)})") from fault


async def _forget(settings: MqttSettings, topics: Topics, force: bool, timeouts: Timeouts) -> Forgotten:
    connector = Connector(settings, timeouts, topics.status)
    async with connector.connect_without_session(f"clapstream-{secrets.token_hex(6)}") as connection:
        retained = await _retained(connection, topics, timeouts)
        if retained.get(topics.status) == payloads.ONLINE.encode() and not force:
            raise NodeOnlineError(
                f"node {topics.node} is online and would publish everything again; stop it first, "
                "or use --force if it is not running any more"
            )
        deletions = [Message(topic, "", retain=True) for topic in _in_order(topics, retained)]
        answers = await connection.publish_all(deletions, 8)
    result = Forgotten()
    for message, refusal in zip(deletions, answers, strict=True):
        if refusal is None:
            result.deleted.append(message.topic)
        else:
            result.refused[message.topic] = refusal
    return result


def _in_order(topics: Topics, retained: Iterable[str]) -> list[str]:
    """Discovery first: Home Assistant removes the entities before their topics are deleted."""
    return sorted(retained, key=lambda topic: (not topics.is_discovery(topic), topic))


async def _retained(connection: Connection, topics: Topics, timeouts: Timeouts) -> dict[str, bytes]:
    """What the broker retains for the node: payloads by topic, read until nothing more arrives."""
    found: dict[str, bytes] = {}
    changed = asyncio.Event()

    async def collect() -> None:
        async for message in connection.messages:
            topic = message.topic.value
            if message.retain and (topic.startswith(f"{topics.base}/") or topics.is_discovery(topic)):
                found[topic] = message.payload if isinstance(message.payload, bytes) else b""
            changed.set()

    async with asyncio.TaskGroup() as tasks:
        collector = tasks.create_task(collect())
        for pattern in (f"{topics.base}/#", f"{topics.discovery_prefix}/device/+/config"):
            refusal = await connection.subscribe(pattern, 1)
            if refusal is not None:
                raise aiomqtt.MqttError(f"broker refused the subscription to {pattern}: {refusal}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_SECONDS):
                while True:
                    changed.clear()
                    await asyncio.wait_for(changed.wait(), timeouts.retained)
        collector.cancel()
    return found
