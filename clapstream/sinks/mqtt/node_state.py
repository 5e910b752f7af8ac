"""A node's files in the state directory: the id of its installation, its spool, and a lock on both."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from clapstream.sinks.mqtt.old_spool import OLD_SPOOL, drain_old_spool

_logger = logging.getLogger(__name__)

ID_DIGITS = 11
"""With `clapstream-` and one letter 23 characters, which every MQTT 3.1.1 broker accepts as a client id."""


class StateInUseError(Exception):
    """Another process runs this node with this state directory."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """The id of this installation and the path of its spool. `lock` is held until the process ends."""

    installation_id: str
    spool_path: Path | None
    lock: int | None = None

    def close(self) -> None:
        """Release the lock."""
        if self.lock is not None:
            os.close(self.lock)


def spool_path_of(state_directory: Path, node_slug: str) -> Path:
    """Where the detections of a node wait."""
    return state_directory / "nodes" / node_slug / "spool.sqlite3"


def open_node_state(state_directory: Path, node_slug: str, sources: Collection[str]) -> NodeState:
    """Lock the node's folder and read its id, which is made at the first start.

    Raises StateInUseError if another process holds it. A folder that cannot be written is no reason not to start.
    """
    spool_path = spool_path_of(state_directory, node_slug)
    folder = spool_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(folder / "lock", node_slug, state_directory)
    except OSError as error:
        _logger.warning("cannot write the state directory %s (%s)", state_directory, error.strerror or error)
        return NodeState(_new_id(), spool_path)
    _adopt_old_spool(state_directory, spool_path, node_slug, sources)
    return NodeState(_installation_id(folder / "installation.json"), spool_path, lock)


def _lock(path: Path, node_slug: str, state_directory: Path) -> int:
    """Lock a file that then holds our process id; raises OSError and StateInUseError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 20).decode(errors="replace").strip()
        os.close(file)
        process = f" (process {holder})" if holder.isdecimal() else ""
        raise StateInUseError(
            f"another clapstream{process} already runs node {node_slug} "
            f"with the state directory {state_directory}; stop it, or give this one another `node` or "
            "`state_directory`"
        ) from None
    except OSError:  # a file system without locks
        return file
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.truncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    return file


def _installation_id(path: Path) -> str:
    """The id in the file, or a new one that is written to it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(path.read_bytes()).get("id")
        if isinstance(known, str) and re.fullmatch(rf"[0-9a-f]{{{ID_DIGITS}}}", known):
            return known
    new = _new_id()
    try:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({"id": new}))
        temporary.replace(path)
    except OSError as error:
        _logger.info("cannot write %s (%s): the next start will use another id", path, error.strerror or error)
    return new


def _adopt_old_spool(state_directory: Path, spool_path: Path, node_slug: str, sources: Collection[str]) -> None:
    """Earlier versions kept one spool for all nodes, and called every node `home` that had no name."""
    old = state_directory / OLD_SPOOL
    if not old.is_file():
        return
    if node_slug != "home":
        _logger.info(
            "the default `node` is now the name of the host: set `node: home` to keep the old name, "
            "or remove the old device from Home Assistant with `clapstream forget home`"
        )
    drain_old_spool(old, spool_path, sources)


def _new_id() -> str:
    return secrets.token_hex(ID_DIGITS)[:ID_DIGITS]
