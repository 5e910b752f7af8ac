"""Remembers over restarts which sources the user switched off: a crash or an update must not open a microphone.

Format: an empty file in the state directory for each source that was switched, `listening-<node>-<source>.off` or
`.on` (both names are slugs, which have no hyphen). Where both exist the source is off; where there is none, the
configuration decides. Empty files need no block on a full disk, are created and renamed atomically, and have no
content that could be damaged. Where it is unknown whether a file exists, the source is off: one that stays
closed is seen and switched on again, a microphone that opens by itself is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_logger = logging.getLogger(__name__)

DISK_SECONDS = 1.0
"""How long a change waits for the disk before it is announced; a disk may hang."""
RETRY_SECONDS = 30.0


class ListeningSwitches:
    """The switches of one node, in a state directory. Source names are slugs."""

    def __init__(
        self,
        directory: Path,
        node: str,
        initial: Mapping[str, bool],
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """Take the configured state of each source, which applies until the source is switched."""
        self._directory = directory
        self._node = node
        self._initial = dict(initial)
        self._retry_seconds = retry_seconds
        self._unsaved: dict[str, bool] = {}
        self._failing = False
        self._retry: asyncio.TimerHandle | None = None
        # Not the event loop's executor, whose end it would wait for; one thread keeps changes in their order.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="listening-switches")

    def load(self) -> dict[str, bool]:
        """Whether each source may listen; never raises; a source whose state cannot be read is off."""
        return {source: self._load(source, initial) for source, initial in self._initial.items()}

    async def save(self, source: str, listening: bool) -> None:
        """Save a change, waiting for the disk for `DISK_SECONDS` at most; failures are logged and tried again."""
        self._unsaved[source] = listening
        writing = self._submit()
        await asyncio.wait({writing}, timeout=DISK_SECONDS)
        if not writing.done():
            self._failed("the disk does not answer")
            return
        with contextlib.suppress(OSError):  # reported by `_written`
            writing.result()

    def _load(self, source: str, initial: bool) -> bool:
        off, on = self._path(source, False), self._path(source, True)
        try:
            if _exists(off):
                _logger.info("source %s: switched off before the restart, stays off (saved as %s)", source, off)
                return False
            return initial or _exists(on)
        except OSError as error:
            _logger.error(
                "source %s: switched off, because its saved switch cannot be read (%s: %s); switch it on again",
                source,
                off,
                error.strerror,
            )
            return False

    def _submit(self) -> asyncio.Future[None]:
        """Let the thread write all that is not saved."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        changes = dict(self._unsaved)
        writing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, changes)
        writing.add_done_callback(functools.partial(self._written, changes))
        return writing

    def _written(self, changes: Mapping[str, bool], writing: asyncio.Future[None]) -> None:
        error = writing.exception()
        if error is None:
            self._saved(changes)
        elif isinstance(error, OSError):
            self._failed(error.strerror or str(error))
            self._retry = asyncio.get_running_loop().call_later(self._retry_seconds, self._submit)

    def _failed(self, reason: str) -> None:
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        names = ", ".join(self._unsaved)
        _logger.log(
            level,
            "cannot save the listening switch of %s in %s (%s): after a restart it may stand as before; retrying",
            names,
            self._directory,
            reason,
        )

    def _saved(self, changes: Mapping[str, bool]) -> None:
        for source, listening in changes.items():
            if self._unsaved.get(source) is listening:
                del self._unsaved[source]
        if self._failing:
            self._failing = False
            _logger.info("the listening switch of %s is saved", ", ".join(changes))

    def _write(self, changes: Mapping[str, bool]) -> None:
        """On the thread; raises OSError. Ends with a state that counts as off wherever it is interrupted."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for source, listening in changes.items():
            off, on = self._path(source, False), self._path(source, True)
            if not listening:
                off.touch()
                on.unlink(missing_ok=True)
            elif _exists(off):
                off.replace(on)
            else:
                on.touch()
        self._remove_others()
        _sync_directory(self._directory)

    def _remove_others(self) -> None:
        """Remove what was saved for sources that are no longer configured."""
        for path in self._directory.glob(f"listening-{self._node}-*.o*"):
            source = path.stem.rpartition("-")[2]
            if path.suffix in (".on", ".off") and source not in self._initial:
                path.unlink(missing_ok=True)

    def _path(self, source: str, listening: bool) -> Path:
        return self._directory / f"listening-{self._node}-{source}.{'on' if listening else 'off'}"


def _exists(path: Path) -> bool:
    """Whether a file is there; unlike `Path.exists`, raises OSError where that cannot be determined."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _sync_directory(path: Path) -> None:
    """Write names that were created or renamed to the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot synchronise directories
            raise
    finally:
        os.close(descriptor)
