"""Files of the cache directory: what they hold can be computed again, so a directory that fails costs only time."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from clapstream.clap.checkpoint_files import write_whole

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_reported: set[Path] = set()
"""Files that could not be read, and directories that could not be written last time."""


def write_cache_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a directory that cannot be written is reported once until it can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        _report(path.parent, "cannot write to the cache %s (%s); the next start takes longer", error)
    else:
        with _lock:
            _reported.difference_update((path, path.parent))


def report_unreadable(path: Path, error: Exception) -> None:
    """Report once that a file is damaged or cannot be read; what it held is computed again."""
    _report(path, "cannot read %s in the cache (%s); computing it again", error)


def _report(path: Path, message: str, error: Exception) -> None:
    with _lock:
        is_known = path in _reported
        _reported.add(path)
    if not is_known:
        _logger.warning(message, path, (error.strerror if isinstance(error, OSError) else None) or error)
