"""One entity of a source as a component of Home Assistant's device discovery: its ids and its availability.

The options are those of https://www.home-assistant.io/integrations/mqtt/ and its pages for each platform.
"""

from __future__ import annotations

from dataclasses import dataclass

from clapstream.sinks.mqtt.payloads import OFFLINE, ONLINE
from clapstream.sinks.mqtt.topics import Topics
from clapstream.updates import SourceInfo

Component = dict[str, object]


@dataclass(frozen=True, slots=True)
class ComponentBuilder:
    """Makes the components of one source."""

    topics: Topics
    source: SourceInfo

    def build(
        self,
        platform: str,
        *,
        key: str,
        name: str,
        entity: str = "",
        needs_sound: bool = False,
        **options: object,
    ) -> tuple[str, Component]:
        """A component with its id; one that `needs_sound` is unavailable while the source is.

        Availability of a component replaces the device's, so both are named then. Slugs have no dash, so ids joined
        with dashes cannot collide.
        """
        slug = self.source.slug
        if needs_sound:
            options["availability"] = availability(self.topics.status, self.topics.availability(slug))
            options["availability_mode"] = "all"
        return f"{slug}-{key}", {
            "platform": platform,
            "unique_id": f"{self.topics.device_id}-{slug}-{key}",
            "default_entity_id": f"{platform}.{self.topics.node}_{slug}_{entity or key}",
            "name": f"{self.source.name} {name}",
            **options,
        }


def availability(*topics: str) -> list[dict[str, str]]:
    """Home Assistant's list of topics that say `online` or `offline`."""
    return [{"topic": topic, "payload_available": ONLINE, "payload_not_available": OFFLINE} for topic in topics]
