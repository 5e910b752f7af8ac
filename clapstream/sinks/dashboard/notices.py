"""Log lines while the dashboard draws: they would tear the picture, so warnings go into it instead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Notice = Callable[[str, bool], None]
"""Shows a line; True for an error, False for a warning."""


@contextmanager
def warnings_as_notices(notice: Notice) -> Iterator[None]:
    """Hold back what handlers would write to terminals, and give warnings and errors to `notice`."""
    root = logging.getLogger()
    held_back = [handler for handler in root.handlers if _writes_to_terminal(handler)]
    notices = _NoticeHandler(notice)
    for handler in held_back:
        root.removeHandler(handler)
    root.addHandler(notices)
    try:
        yield
    finally:
        root.removeHandler(notices)
        for handler in held_back:
            root.addHandler(handler)


class _NoticeHandler(logging.Handler):
    def __init__(self, notice: Notice) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        self._notice(record.getMessage(), record.levelno >= logging.ERROR)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
