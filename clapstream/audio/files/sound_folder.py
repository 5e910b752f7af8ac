"""Finds the sound files in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from clapstream.audio.files.file_reader import shown_name
from clapstream.audio.files.sound_file import NoAudioTrackError, NotSoundError
from clapstream.audio.source import SourceError

SOUND_SUFFIXES = frozenset(
    f".{suffix}"
    for suffixes in (
        "3g2 3gp aac ac3 aif aifc aiff alac amr ape au caf eac3 flac m4a m4b m4r mka mp1 mp2 mp3 mpc oga ogg opus",
        "rf64 snd spx tta w64 wav wave weba wma wv",
        "asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv vob webm wmv",
    )
    for suffix in suffixes.split()
)
"""Files with these suffixes should be sound: if one cannot be read, something is wrong with it."""


@dataclass(slots=True)
class FolderContents:
    """Files that may be sound, what certainly is not, and what is wrong with folders that cannot be read."""

    files: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def look_through(folder: Path) -> FolderContents:
    """List a folder and the folders in it, without hidden files, hidden folders and links to folders; sorted."""
    contents = FolderContents()

    def failed(error: OSError) -> None:
        contents.problems.append(f"{shown_name(error.filename)}: cannot be read: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=failed):
        here = Path(parent)
        left_out = {name for name in folders if name.startswith(".") or (here / name).is_symlink()}
        contents.skipped += [here / name for name in left_out]
        folders[:] = [name for name in folders if name not in left_out]
        for name in names:
            path = here / name
            hidden_or_device = name.startswith(".") or not os.path.isfile(path)  # noqa: PTH113 (never raises)
            (contents.skipped if hidden_or_device else contents.files).append(path)
    contents.files.sort()
    contents.skipped.sort()
    contents.problems.sort()
    return contents


def is_meant_as_sound(path: Path, error: SourceError) -> bool:
    """Whether a file in which `error` was found should be sound, so that something is wrong with it."""
    if isinstance(error, NoAudioTrackError):
        return False
    return path.suffix.lower() in SOUND_SUFFIXES or not isinstance(error, NotSoundError)
