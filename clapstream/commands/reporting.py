"""What the commands have in common: exit codes, complaints, and reading the settings."""

from __future__ import annotations

import sys
from pathlib import Path

from clapstream.config import ConfigError, Settings, load_settings

OK, FAILURE, USAGE = 0, 1, 2


def complain(message: object) -> None:
    """Say on stderr what is wrong."""
    print(f"clapstream: {message}", file=sys.stderr)


def settings_or_complaints(path: Path | None, *, sources_may_fail: bool = False) -> Settings | None:
    """The settings, or None when everything that is wrong with them was said."""
    try:
        return load_settings(path, sources_may_fail=sources_may_fail)
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return None
