"""`clapstream run` and `clapstream demo`: run the daemon."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Callable

from clapstream.commands.reporting import print_error, settings_or_print_errors
from clapstream.config import Settings, load_settings
from clapstream.daemon.build import EXPECTED, listen
from clapstream.demo import demo_settings
from clapstream.process.exit_codes import FAILURE, OK, USAGE
from clapstream.process.shutdown import exit_now
from clapstream.process.standard_streams import use_ascii_in_c_locale
from clapstream.process.terminal import full_screen_problem

_logger = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    """Listen to the configured sources; a source whose file is missing does not stop the others."""
    settings = settings_or_print_errors(options.config, sources_may_fail=True)
    if settings is None:
        return USAGE
    return _listen(settings, options, lambda: load_settings(options.config, sources_may_fail=True))


def run_demo(options: argparse.Namespace) -> int:
    """Listen to the recording that is part of the package."""
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
        print_error(error)
        exit_now(FAILURE)
    except Exception:  # a bug: print the traceback now, because a thread that hangs could prevent it later
        traceback.print_exc()
        exit_now(FAILURE)
    exit_now(OK)
    return OK


def _shows_dashboard(wanted: bool | None) -> bool:
    """Whether to show the dashboard; `wanted` is None where the user leaves it to what the terminal can do."""
    if wanted is False:
        return False
    problem = full_screen_problem(sys.stdout)
    if problem is None:
        use_ascii_in_c_locale(sys.stdout)
    elif wanted:
        _logger.warning("cannot show the dashboard: %s; writing log lines instead", problem)
    return problem is None
