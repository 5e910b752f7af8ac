"""The record of which installation uses a node's name: retained, and repeated as a heartbeat.

Two nodes of one name would delete each other's topics.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.topics import Topics

MAX_RECORD_BYTES = 100_000
MAX_TOPICS = 1_000


@dataclass(frozen=True, slots=True)
class Owner:
    """An installation: its random id, its host's name, and where its discovery payloads are retained."""

    id: str
    host: str
    discovery: tuple[str, ...] = ()

    def payload(self) -> str:
        """The record as JSON."""
        return payloads.to_json({"id": self.id, "host": self.host, "discovery": list(self.discovery)})

    @classmethod
    def read(cls, topics: Topics, payload: bytes) -> Owner | None:
        """The owner in a payload that may be anything; topics that are not our discovery topics are left out."""
        try:
            value = json.loads(payload) if len(payload) <= MAX_RECORD_BYTES else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            return None
        listed = value.get("discovery")
        named = [topic for topic in listed if isinstance(topic, str)] if isinstance(listed, list) else []
        valid = [topic for topic in named if topics.is_discovery(topic)]
        host = re.sub(r"[^\w.-]", "_", str(value.get("host", "")))[:64]
        return cls(value["id"][:64], host, tuple(valid[:MAX_TOPICS]))


NOBODY = Owner("", "")
"""The owner of a name that was never used."""
