"""`clapstream check`: name everything that is wrong with the configuration."""

from __future__ import annotations

import argparse

from clapstream.commands.reporting import OK, USAGE, complain, settings_or_complaints
from clapstream.config.secret_files import readable_by_everyone
from clapstream.urls import HIDDEN, may_hold_credentials


def run(options: argparse.Namespace) -> int:
    """Check without opening, loading or connecting anything."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    for path in settings.secret_files:
        if readable_by_everyone(path):
            complain(f"note: every user of this machine can read {path}; chmod o-r keeps the secret")
    names = ", ".join(_shown(source.name) for source in settings.sources)
    broker = settings.mqtt.address if settings.mqtt else "none"
    print(
        f"OK: listens to {names}; {len(settings.labels.labels)} labels against {len(settings.labels.background)} "
        f"background prompts; checkpoint {_shown(settings.model.checkpoint)}; broker {broker}"
    )
    return OK


def _shown(text: str) -> str:
    return HIDDEN if may_hold_credentials(text) else text
