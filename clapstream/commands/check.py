"""`clapstream check`: name everything that is wrong with the configuration."""

from __future__ import annotations

import argparse

from clapstream.commands.reporting import OK, USAGE, settings_or_complaints


def run(options: argparse.Namespace) -> int:
    """Check without opening, loading or connecting anything."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    names = ", ".join(source.name for source in settings.sources)
    broker = f"{settings.mqtt.host}:{settings.mqtt.port}" if settings.mqtt else "none"
    print(
        f"OK: listens to {names}; {len(settings.labels.labels)} labels against {len(settings.labels.background)} "
        f"background prompts; checkpoint {settings.model.checkpoint}; broker {broker}"
    )
    return OK
