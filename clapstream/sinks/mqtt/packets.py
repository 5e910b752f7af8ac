"""Messages as they go over the wire."""

from __future__ import annotations

from clapstream.sinks.mqtt.outbox import Message


def packet_bytes(message: Message) -> int:
    """The size of the PUBLISH packet: section 3.3 of MQTT 5 at QoS 1 without properties."""
    body_bytes = 2 + len(message.topic.encode()) + 2 + 1 + len(message.payload.encode())
    length_bytes = 1 + (body_bytes > 127) + (body_bytes > 16_383) + (body_bytes > 2_097_151)
    return 1 + length_bytes + body_bytes
