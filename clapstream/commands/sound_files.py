"""Which sound files a command is given: files, folders with sound files, and standard input."""

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
from clapstream.commands.reporting import FAILURE, OK, complain

STANDARD_INPUT = Path("-")

_NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SoundFile:
    """A file to tag: where it is, what it is called in the output, and whether a folder was named, not the file."""

    path: Path
    name: str
    from_folder: bool = False


class Report:
    """What became of the files: how many were sound or should have been, and which ones were skipped."""

    def __init__(self) -> None:
        self.exit_code = OK
        self.tried = 0
        self.skipped: list[Path] = []

    def complain(self, message: object) -> None:
        """Say what went wrong."""
        complain(message)
        self.exit_code = FAILURE

    def failed(self, file: SoundFile, error: SourceError) -> None:
        """Say what is wrong with a file, unless it only lies in a folder with sound files."""
        if file.from_folder and not is_meant_as_sound(file.path, error):
            self.skipped.append(file.path)
            return
        self.tried += 1
        self.complain(error)

    def tell_skipped(self) -> None:
        """Name what was skipped, as far as it fits in a line."""
        if not self.skipped:
            return
        names = [shown_name(path) for path in self.skipped[:_NAMES_SHOWN]]
        if more := len(self.skipped) - len(names):
            names.append(f"and {more} more")
        complain(f"skipped {len(self.skipped)} (no sound, or hidden): {', '.join(names)}")


def sound_files(paths: Sequence[Path], report: Report) -> Iterator[SoundFile]:
    """The files that are meant: those that are named, those in folders that are named, and standard input."""
    for index, path in enumerate(paths):
        if path == STANDARD_INPUT:
            try:
                with _standard_input_as_file() as copy:
                    yield SoundFile(copy, str(path))
            except SourceError as error:
                report.complain(error)
        elif os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for names that are too long)
            yield from _files_in(path, paths[:index], report)
        else:
            yield SoundFile(path, str(path))


def _files_in(folder: Path, named: Sequence[Path], report: Report) -> Iterator[SoundFile]:
    """The files of a folder that were not `named` before."""
    contents = look_through(folder)
    report.skipped += contents.skipped
    for problem in contents.problems:
        report.complain(problem)
    tried = report.tried
    for path in contents.files:
        if path not in named:
            yield SoundFile(path, str(path), from_folder=True)
    if report.tried == tried and not contents.problems:
        report.complain(f"{shown_name(folder)}: no {'other ' if named else ''}sound files in this folder")


@contextlib.contextmanager
def _standard_input_as_file() -> Iterator[Path]:
    """Copy standard input to disk, because most formats cannot be read from front to back."""
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
