"""`clapstream run` and `clapstream demo`: the daemon."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable

from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.config import Settings, load_settings
from clapstream.daemon.build import EXPECTED, listen
from clapstream.demo import demo_settings
from clapstream.process.shutdown import exit_now
from clapstream.process.terminal import draw_in_ascii_where_the_locale_asks, why_not_drawable

_logger = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    """Listen to the configured sources; one whose file is missing does not keep the others from it."""
    settings = settings_or_complaints(options.config, sources_may_fail=True)
    if settings is None:
        return USAGE
    return _listen(settings, options, lambda: load_settings(options.config, sources_may_fail=True))


def run_demo(options: argparse.Namespace) -> int:
    """Listen to the recording that comes with the package."""
    return _listen(demo_settings(), options)


def _listen(
    settings: Settings, options: argparse.Namespace, reload_settings: Callable[[], Settings] | None = None
) -> int:
    try:
        listen(
            settings,
            dashboard=_shows_dashboard(options.dashboard),
            reload_settings=reload_settings,
            terminal=options.terminal,
        )
    except EXPECTED as error:
        complain(error)
        exit_now(FAILURE)
    except Exception:  # a mistake of ours: it is told in full, and a thread that hangs must not hide it
        traceback.print_exc()
        exit_now(FAILURE)
    exit_now(OK)
    return OK


def _shows_dashboard(wanted: bool | None) -> bool:
    """Whether to draw: by default where that is possible; it is said why not where it was asked for in vain."""
    if wanted is False:
        return False
    obstacle = why_not_drawable(sys.stdout)
    if obstacle is not None and wanted:
        _logger.warning("no dashboard, log lines instead: %s", obstacle)
    if obstacle is None:
        draw_in_ascii_where_the_locale_asks(sys.stdout)
    return obstacle is None
