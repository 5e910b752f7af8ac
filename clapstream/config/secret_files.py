"""Files that hold one secret: a password, a user name, the URL of a camera."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

LARGEST_SECRET_BYTES = 64 * 1024


class SecretFileError(OSError):
    """A file that holds no usable secret: `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason


def read_secret(path: Path) -> str:
    """The one line of text in a file, without a byte order mark and the end of the line.

    Raises OSError, and `SecretFileError` for a file without text, with several lines or that is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_SECRET_BYTES + 1)
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        text = None
    if len(content) > LARGEST_SECRET_BYTES:
        raise SecretFileError(path, f"is larger than {LARGEST_SECRET_BYTES // 1024} KiB")
    if text is None:
        raise SecretFileError(path, "is not UTF-8 text")
    if not text.strip():
        raise SecretFileError(path, "is empty")
    if any(character in text for character in "\r\n\0"):
        raise SecretFileError(path, "must hold one line of text")
    return text


def credential(name: str, environment: Mapping[str, str]) -> str | None:
    """A credential that systemd handed over, see systemd.exec(5); None if there is none of that name.

    Raises as `read_secret` does.
    """
    path = Path(environment.get("CREDENTIALS_DIRECTORY", "/nonexistent"), name)
    return read_secret(path) if path.is_file() else None


def explain_unreadable(error: OSError) -> str:
    """Why `read_secret` failed, without path and content."""
    return error.reason if isinstance(error, SecretFileError) else f"cannot be read: {error.strerror}"


def readable_by_everyone(path: Path) -> bool:
    """Whether every user of the machine may read the file, as far as its own mode says."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
