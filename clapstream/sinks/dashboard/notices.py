"""Keeps log lines off the terminal that the dashboard draws on, and shows warnings in the dashboard instead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ShowNotice = Callable[[str, bool], None]
"""Shows a line; True for an error, False for a warning."""


@contextmanager
def warnings_as_notices(show: ShowNotice) -> Iterator[None]:
    """Remove the log handlers that write to terminals, and pass warnings and errors to `show`."""
    root = logging.getLogger()
    removed = [handler for handler in root.handlers if _writes_to_terminal(handler)]
    notices = _NoticeHandler(show)
    for handler in removed:
        root.removeHandler(handler)
    root.addHandler(notices)
    try:
        yield
    finally:
        root.removeHandler(notices)
        for handler in removed:
            root.addHandler(handler)


class _NoticeHandler(logging.Handler):
    def __init__(self, show: ShowNotice) -> None:
        super().__init__(logging.WARNING)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage(), record.levelno >= logging.ERROR)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
