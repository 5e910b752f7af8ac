"""What is published: a topic, a payload, and whether the broker retains it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One publication; an empty retained payload deletes what the broker retains on the topic."""

    topic: str
    payload: str
    retain: bool = False

    @property
    def packet_bytes(self) -> int:
        """The size of the PUBLISH packet: section 3.3 of MQTT 5 at QoS 1 without properties."""
        body_bytes = 2 + len(self.topic.encode()) + 2 + 1 + len(self.payload.encode())
        length_bytes = 1 + (body_bytes > 127) + (body_bytes > 16_383) + (body_bytes > 2_097_151)
        return 1 + length_bytes + body_bytes
