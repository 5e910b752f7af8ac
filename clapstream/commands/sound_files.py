"""Finds the sound files that a command is given: files, folders of sound files, and standard input."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clapstream.audio.files.file_reader import shown_name
from clapstream.audio.files.sound_folder import is_meant_as_sound, look_through
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, OK, print_error

STANDARD_INPUT = Path("-")

_NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A sound file, its name in the output, and whether it was found in a folder instead of being named."""

    path: Path
    name: str
    from_folder: bool = False


class Report:
    """Counts the sound files that were read or failed, and collects the files that were skipped."""

    def __init__(self) -> None:
        self.exit_code = OK
        self.tried = 0
        self.skipped: list[Path] = []

    def print_error(self, message: object) -> None:
        """Print an error; the command then fails."""
        print_error(message)
        self.exit_code = FAILURE

    def failed(self, file: SoundFile, error: SourceError) -> None:
        """Report an error of a sound file, or skip a file that is no sound but was found in a folder."""
        if file.from_folder and not is_meant_as_sound(file.path, error):
            self.skipped.append(file.path)
            return
        self.tried += 1
        self.print_error(error)

    def print_skipped(self) -> None:
        """Print the names of the first skipped files, in one line."""
        if not self.skipped:
            return
        names = [shown_name(path) for path in self.skipped[:_NAMES_SHOWN]]
        if more := len(self.skipped) - len(names):
            names.append(f"and {more} more")
        print_error(f"skipped {len(self.skipped)} (not sound files, or hidden): {', '.join(names)}")


def sound_files(paths: Sequence[Path], report: Report) -> Iterator[SoundFile]:
    """The named files, the sound files in named folders, and standard input as a temporary file."""
    for index, path in enumerate(paths):
        if path == STANDARD_INPUT:
            try:
                with _standard_input_as_file() as copy:
                    yield SoundFile(copy, str(path))
            except SourceError as error:
                report.print_error(error)
        elif os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for names that are too long)
            yield from _files_in(path, paths[:index], report)
        else:
            yield SoundFile(path, str(path))


def _files_in(folder: Path, named: Sequence[Path], report: Report) -> Iterator[SoundFile]:
    """The files of a folder, without those `named` before."""
    contents = look_through(folder)
    report.skipped += contents.skipped
    for problem in contents.problems:
        report.print_error(problem)
    tried = report.tried
    for path in contents.files:
        if path not in named:
            yield SoundFile(path, str(path), from_folder=True)
    if report.tried == tried and not contents.problems:
        report.print_error(f"{shown_name(folder)}: no {'other ' if named else ''}sound files in this folder")


@contextlib.contextmanager
def _standard_input_as_file() -> Iterator[Path]:
    """Copy standard input to a temporary file, because reading most formats needs seeking."""
    if sys.stdin is None:
        raise SourceError(f"{STANDARD_INPUT}: standard input is closed; pipe a sound file into it")
    if sys.stdin.isatty():
        raise SourceError(f"{STANDARD_INPUT}: standard input is a terminal; pipe a sound file into it")
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="clapstream-"))
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.flush()
        except OSError as error:
            reason = error.strerror or error
            raise SourceError(
                f"{STANDARD_INPUT}: cannot copy standard input to a temporary file: {reason}"
            ) from error
        yield Path(copy.name)
