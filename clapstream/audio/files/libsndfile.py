"""Opens files with libsndfile (soundfile): whole ones, parts of one, and what must be read through a pipe."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from pathlib import Path
from typing import BinaryIO

import soundfile

from clapstream.audio.files.file_reader import NotReadableError
from clapstream.audio.files.ogg_parts import OggPart


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to back: soundfile seeks after every read, which tears holes into MP3."""

    def seekable(self) -> bool:
        """Tell soundfile to leave the position alone."""
        return False


class FilePart(io.RawIOBase):
    """A part of a file as a file object, with the methods that libsndfile needs."""

    def __init__(self, file: BinaryIO, part: OggPart) -> None:
        self._file = file
        self._start = part.start
        self._size = part.end - part.start
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._start + self._position)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_sound_file(file: bytes | int | FilePart) -> soundfile.SoundFile:
    """Open a path, a descriptor or a part of a file; NotReadableError if libsndfile does not know its format."""
    try:
        return _SequentialFile(file)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:  # TypeError: a raw format without parameters
        raise NotReadableError(cause(error)) from error


def open_through_pipe(path: Path) -> soundfile.SoundFile:
    """Open a file as an endless stream, so that libsndfile does not trust its header's length."""
    reading, writing = os.pipe()
    threading.Thread(target=_copy, args=(path, writing), name=f"read {path.name}", daemon=True).start()
    return open_sound_file(reading)  # which closes it also if it refuses


def _copy(path: Path, writing: int) -> None:
    """Write a file into a pipe until all is written or the reader closes it; runs in a thread."""
    with os.fdopen(writing, "wb", buffering=0) as pipe, contextlib.suppress(OSError), path.open("rb") as file:
        while data := file.read(2**16):
            pipe.write(data)


def cause(error: Exception) -> str:
    """Return libsndfile's message without the path that soundfile puts before it."""
    words = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    if words == "Unspecified internal error.":  # its message for damaged MP3
        return "the data cannot be decoded"
    return words.removeprefix("Error : ").rstrip(".")
