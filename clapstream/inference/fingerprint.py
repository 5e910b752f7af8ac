"""Identifies a checkpoint by the content of its files, whose digests are cached."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clapstream.clap.checkpoint_files import (
    MERGES_NAME,
    SETTINGS_NAME,
    SPECIAL_TOKENS_NAME,
    TOKENIZER_NAME,
    VOCABULARY_NAME,
)
from clapstream.clap.extractor_settings import FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME
from clapstream.clap.hub import CheckpointError, CheckpointSource, HubUnreachableError
from clapstream.clap.pretrained_config import CONFIG_NAME
from clapstream.clap.weights import Shards, weights_names
from clapstream.inference.cache_files import report_unreadable, write_cache_file

CALIBRATION_NAME = "calibration.json"
CACHE_NAME = "file-digests.json"

_CLOCK_TICK_NS = 2_000_000_000
"""The coarsest time stamps of file systems in use (FAT). A file may change twice within one tick."""

_one_at_a_time = threading.Lock()
"""Engine and labels ask at the same time at a start: the second one finds what the first one cached."""


def checkpoint_fingerprint(
    source: CheckpointSource, cache_directory: Path | None, *, now: Callable[[], int] = time.time_ns
) -> str:
    """SHA-256, in hexadecimal, over the names and contents of all files that decide embeddings or scores.

    Those are the weights, the settings of model and features, the tokenizer and the calibration. Neither their
    directory nor their times count. Digests of single files are cached in `cache_directory` (None: not at all);
    `now` is the time in nanoseconds since 1970.

    Raises:
        CheckpointError: there are no weights, or a file cannot be read.
    """
    with _one_at_a_time:
        digests = FileDigests(cache_directory, now)
        contents = {path.name: digests.digest(path) for path in _files(source)}
        digests.save()
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def _files(source: CheckpointSource) -> list[Path]:
    """The files that loading the checkpoint reads; of alternatives only the one that loading prefers."""
    weights = source.require(*weights_names())
    found: list[Path | None] = [weights]
    if weights.suffix == ".json":
        shards = Shards(source, weights)
        found += sorted({shards.path(key) for key in shards.shapes})
    tokenizer = _first(source, TOKENIZER_NAME, VOCABULARY_NAME)
    found += [tokenizer, _first(source, FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME)]
    if tokenizer is not None and tokenizer.name == VOCABULARY_NAME:
        found.append(source.find(MERGES_NAME))
    found += [source.find(name) for name in (CONFIG_NAME, SETTINGS_NAME, SPECIAL_TOKENS_NAME, CALIBRATION_NAME)]
    return [path for path in found if path is not None]


def _first(source: CheckpointSource, *names: str) -> Path | None:
    try:
        return source.require(*names)
    except HubUnreachableError:
        raise
    except CheckpointError:  # whoever needs the file reports that it is missing
        return None


class FileDigests:
    """SHA-256 of files, cached in one JSON file under `directory` (None: computed each time).

    A cached digest is valid while the file's size, inode and times are unchanged. Copying can keep the modification
    time (`cp -p`, `rsync -t`), but not the inode and the status change time (ctime). A file that changed less than
    one tick of the file system's clock ago is not cached: another change in the same tick might not show.
    A cache that cannot be read or written costs time and one warning, never the run.
    """

    def __init__(self, directory: Path | None, now: Callable[[], int] = time.time_ns) -> None:
        self._path = None if directory is None else directory / CACHE_NAME
        self._now = now
        self._stored = self._read()
        self._entries = {name: entry for name, entry in self._stored.items() if _exists(name)}

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's content, in hexadecimal; raises CheckpointError if the file cannot be read."""
        try:
            resolved = path.resolve(strict=True)
            state = _state(resolved.stat())
            cached = _cached_digest(self._entries.get(str(resolved)), state)
            if cached is not None:
                return cached
            with resolved.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                after = os.fstat(file.fileno())
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
        changed_ns = max(after.st_mtime_ns, after.st_ctime_ns)
        if _state(after) == state and changed_ns + _CLOCK_TICK_NS < self._now():
            self._entries[str(resolved)] = {**state, "sha256": digest}
        else:
            self._entries.pop(str(resolved), None)
        return digest

    def save(self) -> None:
        """Write the cache if it changed; entries of files that no longer exist are dropped."""
        if self._path is None or self._entries == self._stored:
            return
        write_cache_file(self._path, json.dumps(self._entries, indent=2).encode())
        self._stored = dict(self._entries)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return {}
        try:
            stored = json.loads(self._path.read_bytes())
            if not isinstance(stored, dict):
                raise ValueError("it holds no JSON object")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            report_unreadable(self._path, error)
            return {}
        return stored


def _state(status: os.stat_result) -> dict[str, int]:
    """What changes when a file's content does."""
    return {
        "size": status.st_size,
        "inode": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
    }


def _cached_digest(entry: object, state: dict[str, int]) -> str | None:
    """The digest of a cache entry, None unless the entry is sound and of a file in this state."""
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(digest, str) or len(digest) != hashlib.sha256().digest_size * 2:
        return None
    return digest if entry == {**state, "sha256": digest} else None


def _exists(name: str) -> bool:
    return os.path.exists(name)  # noqa: PTH110 (Path.exists raises for names that are too long)
