"""Opens sound files: with libsndfile, and with FFmpeg's libraries what libsndfile refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from clapstream.audio.files.av_reader import AvReader
from clapstream.audio.files.file_reader import FileReader, NoAudioError, NotReadableError
from clapstream.audio.files.libsndfile_reader import LibsndfileReader
from clapstream.audio.pyav import AV_PACKAGE
from clapstream.audio.source import SourceError


class NotSoundError(SourceError):
    """No sound could be read from the file, because of its format or because there is none in it."""


class NoAudioTrackError(NotSoundError):
    """The file is in a known format but has no audio track, as a video without sound."""


@contextmanager
def opened(path: Path, shown: str) -> Iterator[FileReader]:
    """Open a file, `shown` in messages; SourceError says what is wrong with it."""
    try:
        if not path.exists():
            raise SourceError(f"{shown}: no such file")
        if not path.is_file():
            raise SourceError(f"{shown}: not a file")
        if not path.stat().st_size:
            raise NotSoundError(f"{shown}: the file is empty")
        reader = _open(path, shown)
    except OSError as error:
        raise SourceError(f"{shown}: cannot be read: {error.strerror}") from error
    with closing(reader):
        yield reader


def _open(path: Path, shown: str) -> FileReader:
    try:
        return LibsndfileReader(path)
    except NotReadableError as error:
        refusal = f"{shown}: not a sound file that libsndfile reads: {error}"
    try:
        return AvReader(path)
    except ImportError as error:
        raise NotSoundError(
            f"{refusal}; every other format (m4a, mp4, aac, webm, mka, ...) needs {AV_PACKAGE}"
        ) from error
    except NoAudioError as error:
        raise NoAudioTrackError(f"{shown}: {error}") from error
    except NotReadableError as error:
        raise NotSoundError(f"{refusal}; FFmpeg: {error}") from error
