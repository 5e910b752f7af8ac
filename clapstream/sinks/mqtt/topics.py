"""Every MQTT topic of clapstream, built from slugs so that no name can break out of its level."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clapstream.slugs import slugify

_NOT_IN_A_TOPIC = frozenset("+#\0")


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one node below `base_topic`; arguments named `source` and `label` are slugs."""

    node: str
    base: str
    discovery_prefix: str

    @classmethod
    def of(cls, base_topic: str, node: str, discovery_prefix: str) -> Topics:
        """Topics for a node by its name; raises ValueError where a configured topic has a wildcard or NUL."""
        for topic in (base_topic, discovery_prefix):
            if not topic.strip("/") or _NOT_IN_A_TOPIC.intersection(topic):
                raise ValueError(
                    f"{topic!r} is not a valid MQTT topic: it must not be empty or contain '+', '#' or NUL"
                )
        slug = slugify(node)
        return cls(slug, f"{base_topic.strip('/')}/{slug}", discovery_prefix.strip("/"))

    @property
    def device_id(self) -> str:
        """The identifier of the node's device in Home Assistant."""
        return f"clapstream_{self.node}"

    @property
    def status(self) -> str:
        """`online` or `offline`, retained; the will."""
        return f"{self.base}/status"

    @property
    def owner(self) -> str:
        """Which installation uses the node's name, retained."""
        return f"{self.base}/owner"

    @property
    def diagnostics_of_node(self) -> str:
        """What the broker refused, what waits for it and what was lost."""
        return f"{self.base}/diagnostics"

    @property
    def discovery(self) -> str:
        """The retained device payload for Home Assistant."""
        return f"{self.discovery_prefix}/device/{self.device_id}/config"

    def discovery_of(self, source: str) -> str:
        """The retained payload of one source, where one for the whole device is too large for the broker.

        Slugs have no dash, so that it is never the topic of a node.
        """
        return f"{self.discovery_prefix}/device/{self.device_id}-{source}/config"

    def is_discovery(self, topic: str) -> bool:
        """Whether a topic is one of this node's discovery topics."""
        stem = re.escape(f"{self.discovery_prefix}/device/{self.device_id}")
        return re.fullmatch(stem + r"(-[a-z0-9_]{1,64})?/config", topic) is not None

    @property
    def births(self) -> tuple[str, ...]:
        """Where Home Assistant publishes `online` after it started, with or without another discovery prefix."""
        return tuple(dict.fromkeys(("homeassistant/status", f"{self.discovery_prefix}/status")))

    @property
    def detections(self) -> str:
        """The subscription that covers `detection` of every source."""
        return f"{self.base}/+/detection"

    def availability(self, source: str) -> str:
        """`online` or `offline`, retained: whether the source delivers sound."""
        return f"{self.base}/{source}/availability"

    def state(self, source: str, label: str) -> str:
        """`ON` or `OFF`, retained."""
        return f"{self.base}/{source}/{label}/state"

    def attributes(self, source: str, label: str) -> str:
        """The newest event of a label, retained."""
        return f"{self.base}/{source}/{label}/attributes"

    def event(self, source: str) -> str:
        """What Home Assistant's event entity reads, never retained."""
        return f"{self.base}/{source}/event"

    def detection(self, source: str) -> str:
        """Start and end of every event, never retained."""
        return f"{self.base}/{source}/detection"

    def heard(self, source: str) -> str:
        """The top labels of the newest window."""
        return f"{self.base}/{source}/heard"

    def last_label(self, source: str) -> str:
        """The event that started last, retained: an event entity forgets it when Home Assistant restarts."""
        return f"{self.base}/{source}/last_label"

    def level(self, source: str) -> str:
        """dBFS of the newest window."""
        return f"{self.base}/{source}/level"

    def diagnostics(self, source: str) -> str:
        """Counters of the source."""
        return f"{self.base}/{source}/diagnostics"

    def listening(self, source: str) -> str:
        """`ON` or `OFF`, retained: whether the source may listen."""
        return f"{self.base}/{source}/listening"

    def command(self, source: str, suffix: str) -> str:
        """Where a command to a source is sent; `+` as the source covers the command to every source."""
        return f"{self.base}/{source}/{suffix}"

    def split(self, topic: str) -> tuple[str, str]:
        """The level below the base, which is a source's slug in all of its topics, and the rest; else empty."""
        below = topic.removeprefix(f"{self.base}/")
        source, _, suffix = below.partition("/") if below != topic else ("", "", "")
        return source, suffix
