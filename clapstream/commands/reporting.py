"""Error messages of the commands, and reading the settings."""

from __future__ import annotations

import sys
from pathlib import Path

from clapstream.config import ConfigError, Settings, load_settings
from clapstream.process.exit_codes import FAILURE, OK, USAGE

__all__ = ["FAILURE", "OK", "USAGE", "print_error", "settings_or_print_errors"]


def print_error(message: object) -> None:
    """Print an error to stderr."""
    print(f"clapstream: {message}", file=sys.stderr)


def settings_or_print_errors(path: Path | None, *, sources_may_fail: bool = False) -> Settings | None:
    """The settings; None if they have errors, each of which is printed."""
    try:
        return load_settings(path, sources_may_fail=sources_may_fail)
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        return None
