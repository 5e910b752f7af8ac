"""The state of a source in words."""

from __future__ import annotations

from datetime import datetime

from clapstream.sinks.dashboard.state import SourceState
from clapstream.sinks.dashboard.style import BAD, GOOD, QUIET, WARNING
from clapstream.sinks.dashboard.text import duration, one_line
from clapstream.updates import ENDED, STOPPED

STALE_SECONDS = 15.0
"""The age of the latest window from which on it is shown: the default hop is 2.5 s."""


def status(source: SourceState, now: datetime) -> tuple[str, str]:
    """A word or two for the state of a source, and their colour."""
    if not source.listening:
        return "switched off", QUIET
    if source.online is None:
        return "starting", WARNING
    if not source.online:
        if source.reason in (ENDED, STOPPED):
            return source.reason, QUIET
        return "failed" if source.failed else "offline", BAD
    if source.diagnostics is not None and source.diagnostics.silent:
        return "silent: muted?", WARNING
    if source.heard is None:
        return "listening", GOOD
    age_seconds = (now - source.heard.ended).total_seconds()
    if age_seconds > STALE_SECONDS:
        return f"no new window for {duration(age_seconds)}", WARNING
    if source.heard.partial:
        return "listening, first window filling", GOOD
    return "listening, quiet" if source.heard.gated else "listening", GOOD


def why_no_scores(source: SourceState) -> str:
    """Why there are no scores to show."""
    if not source.listening:
        return "the source is closed until it is switched on"
    if source.online is False:
        if source.reason in (ENDED, STOPPED):
            return "there is no more sound"
        reason = one_line(source.reason)
        return reason if source.failed else f"{reason}; retrying"
    return "waiting for the first window"
