"""Which installation a node's name belongs to (pure): two of one name would delete each other's topics.

The owner publishes a retained record with the random id of its installation, and repeats it as a heartbeat. Another
installation reads it before it publishes anything, on a connection without a will.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from clapstream.sinks.mqtt import payloads
from clapstream.sinks.mqtt.timeouts import Timeouts
from clapstream.sinks.mqtt.topics import Topics

Verdict = Literal["wait", "ours", "free", "taken over", "in use"]

_LONGEST_RECORD_BYTES = 100_000
_MOST_TOPICS = 1_000


@dataclass(frozen=True, slots=True)
class Owner:
    """The record: the installation, its host's name, and where its discovery payloads are retained."""

    id: str
    host: str
    discovery: tuple[str, ...] = ()

    def payload(self) -> str:
        """The record as JSON."""
        return payloads.to_json({"id": self.id, "host": self.host, "discovery": list(self.discovery)})

    @classmethod
    def read(cls, topics: Topics, payload: bytes) -> Owner | None:
        """A record that may be anything; topics that are not our discovery topics are left out."""
        try:
            value = json.loads(payload) if len(payload) <= _LONGEST_RECORD_BYTES else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            return None
        listed = value.get("discovery")
        named = [topic for topic in listed if isinstance(topic, str)] if isinstance(listed, list) else []
        valid = [topic for topic in named if topics.is_discovery(topic)]
        host = re.sub(r"[^\w.-]", "_", str(value.get("host", "")))[:64]
        return cls(value["id"][:64], host, tuple(valid[:_MOST_TOPICS]))


class NameCheck:
    """Decides from what a broker says about a node's name whether we may use it.

    `contested` tells that another installation used the name when we looked last, or took it from us: then only its
    going away makes the name free. `now` is in seconds of any monotonic clock.
    """

    def __init__(self, topics: Topics, our_id: str, timeouts: Timeouts, *, contested: bool, now: float) -> None:
        self._topics = topics
        self._our_id = our_id
        self._timeouts = timeouts
        self._opened = self._alive_at = now
        self._offline_since: float | None = None
        self._waited = contested
        self.owner: Owner | None = None

    @property
    def subscriptions(self) -> Sequence[str]:
        """What has to be heard."""
        return (self._topics.status, self._topics.owner)

    def receive(self, topic: str, payload: bytes, now: float) -> None:
        """Take a message, retained or not."""
        if topic == self._topics.owner:
            self.owner = Owner.read(self._topics, payload)
            self._alive_at = now
        elif topic == self._topics.status:
            gone = payload == payloads.OFFLINE.encode()
            self._offline_since = (self._offline_since or now) if gone else None
            self._alive_at = now

    def verdict(self, now: float) -> Verdict:
        """Whether the name is ours to use; `in use` may change later."""
        owner = self.owner
        if owner is not None and owner.id == self._our_id:
            return "ours"
        if now - self._opened < self._timeouts.retained and (owner is None or self._offline_since is None):
            return "wait"
        if now - self._alive_at >= self._timeouts.owner_silence:
            return "free" if owner is None else "taken over"
        if owner is None and not self._waited:
            return "free"
        if self._offline_since is not None:
            grace = self._timeouts.takeover if self._waited else 0.0
            if now - self._offline_since >= grace:
                return "taken over"
        self._waited = True
        return "in use"
