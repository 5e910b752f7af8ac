"""Sets up logging for a command: to standard error, with systemd's level prefixes where it collects the log."""

from __future__ import annotations

import logging
import os
import sys

NOISY_LOGGERS = ("asyncio", "aiomqtt", "matplotlib", "httpx", "httpx2", "httpcore", "httpcore2", "filelock")
"""Libraries whose DEBUG and INFO lines are left out."""

JOURNAL_LEVELS = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>"}
"""The prefixes of sd-daemon(3)."""


def set_up_logging(verbose: bool) -> None:
    """Log INFO and above, `verbose` also DEBUG. The journal adds times of its own, so lines for it have none."""
    if "JOURNAL_STREAM" in os.environ:
        for level, prefix in JOURNAL_LEVELS.items():
            logging.addLevelName(level, prefix)
        line = "%(levelname)s%(name)s: %(message)s"
    else:
        line = "%(asctime)s %(levelname)-7s %(message)s"
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=line, stream=sys.stderr)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its warnings show the URL of each failed attempt, which may hold a password; the failure itself is reported.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
