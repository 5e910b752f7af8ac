"""`clapstream run` and `clapstream demo`: the daemon."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from clapstream.assembly import EXPECTED, listen
from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.config import Settings, load_settings
from clapstream.demo import demo_settings
from clapstream.leaving import leave_now


def run(options: argparse.Namespace) -> int:
    """Listen to the configured sources."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    return _listen(settings, options.dashboard, lambda: load_settings(options.config))


def run_demo(options: argparse.Namespace) -> int:
    """Listen to the recording that comes with the package."""
    return _listen(demo_settings(), options.dashboard)


def _listen(
    settings: Settings, dashboard: bool | None, reload_settings: Callable[[], Settings] | None = None
) -> int:
    try:
        listen(
            settings,
            dashboard=sys.stdout.isatty() if dashboard is None else dashboard,
            reload_settings=reload_settings,
        )
    except EXPECTED as error:
        complain(error)
        leave_now(FAILURE)
    except Exception:  # a mistake of ours: it is told in full, and a thread that hangs must not hide it
        traceback.print_exc()
        leave_now(FAILURE)
    leave_now(OK)
    return OK
