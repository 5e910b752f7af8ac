"""What the readers of sound files share: their protocol, what they give, and their errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class NotReadableError(Exception):
    """The reader does not know the format; the message is its library's reason."""


class NoAudioError(NotReadableError):
    """The format is known, but the file has no audio."""


class BrokenFileError(Exception):
    """The file is damaged or cut short; the sound before that was read. The message says where and how."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Sound `(samples, channels)`, full scale 1.0, but possibly beyond it or not finite.

    `skipped_samples` are missing in the file, at `rate_hz`, between the sound before and this.
    """

    samples: NDArray[np.float32]
    rate_hz: int
    skipped_samples: int = 0


class FileReader(Protocol):
    """An open sound file."""

    @property
    def claimed_seconds(self) -> float:
        """How long the file says that it is, 0.0 if it does not say."""

    def sounds(self) -> Iterator[Sound]:
        """Give the sound from front to back, about a block at a time; BrokenFileError where the file is damaged."""

    def close(self) -> None:
        """Close the file."""


def shown_name(name: str | Path) -> str:
    """Return a file's name for printing: control characters and bytes that are not text are escaped."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in str(name)
    )


def cut_short(heard_seconds: float, claimed_seconds: float) -> BrokenFileError:
    """Return the error for a file that ends before its header says."""
    return BrokenFileError(
        f"broken after {heard_seconds:.1f} s: the file ends there, but its header says {claimed_seconds:.1f} s"
    )
