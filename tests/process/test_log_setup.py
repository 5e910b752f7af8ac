"""The format of log lines on a terminal and for the journal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

PROBE = """
import logging
from clapstream.process.log_setup import set_up_logging
set_up_logging(verbose=False)
logging.getLogger("clapstream.test").warning("lost")
logging.getLogger("clapstream.test").debug("hidden")
logging.getLogger("aiomqtt").info("hidden")
"""


def logged(**environment: str) -> str:
    """What a separate process logs, because logging is set up once for a process."""
    inherited = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    return subprocess.run(
        [sys.executable, "-c", PROBE], env=inherited | environment, capture_output=True, text=True, check=True
    ).stderr


def test_a_line_has_a_time_and_a_level() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING lost\n", logged())


def test_a_line_for_the_journal_has_its_level_prefix_instead() -> None:
    assert logged(JOURNAL_STREAM="8:1") == "<4>clapstream.test: lost\n"
