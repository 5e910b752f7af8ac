"""`clapstream tag`: tell what is in sound files."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from clapstream.assembly import EXPECTED
from clapstream.audio.block import RATE_HZ
from clapstream.audio.file_reader import shown_name
from clapstream.audio.recording import claimed_seconds, recording_blocks
from clapstream.audio.sound_folder import is_meant_as_sound, look_through
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.config import LabelSet, LabelSettings, WindowSettings
from clapstream.detection.detector import Detector
from clapstream.tagging import Tag, WindowScorer, tag_blocks

STANDARD_INPUT = Path("-")

_NAMES_SHOWN = 10


def run(options: argparse.Namespace) -> int:
    """Tag every file; one that cannot be read is said and does not keep the others from being tagged."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    label_set = settings.labels if options.label is None else with_labels(settings.labels, options.label)
    thresholds = [(label.name, 0.0 if options.all else label.start) for label in label_set.labels]
    try:
        detector = Detector(settings.model, label_set, settings.cache_directory)
    except EXPECTED as error:
        complain(error)
        return FAILURE
    return tag_files(options.files, detector, thresholds, settings.window, as_json=options.json)


def tag_files(
    paths: Sequence[Path],
    detector: WindowScorer,
    thresholds: Sequence[tuple[str, float]],
    window: WindowSettings,
    *,
    as_json: bool,
) -> int:
    """Print the tags of every file above `thresholds`, which name the labels; returns the exit code.

    A folder stands for the sound files in it, `-` for a file on standard input.
    """
    report = _Report()
    progress = Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file must not go to the terminal instead
    )
    with progress:
        for file in _files(paths, report):
            windows = _window_count(file.path, window.hop_seconds)
            task = progress.add_task(escape(shown_name(Path(file.name).name)), total=windows)
            try:
                for tags in tag_blocks(
                    file.name,
                    recording_blocks(file.path, shown=shown_name(file.name)),
                    detector,
                    thresholds,
                    window_frames=round(window.seconds * RATE_HZ),
                    hop_frames=round(window.hop_seconds * RATE_HZ),
                ):
                    progress.advance(task)
                    for tag in tags:
                        _print(tag, as_json)
                report.tried += 1
            except SourceError as error:
                report.failed(file, error)
            progress.remove_task(task)
    report.tell_skipped()
    return report.exit_code


@dataclass(frozen=True, slots=True)
class _File:
    """A file to tag: where it is, what it is called in the output, and whether a folder was named, not the file."""

    path: Path
    name: str
    from_folder: bool = False


class _Report:
    """What became of the files: how many were sound or should have been, and which ones were skipped."""

    def __init__(self) -> None:
        self.exit_code = OK
        self.tried = 0
        self.skipped: list[Path] = []

    def complain(self, message: object) -> None:
        """Say what went wrong."""
        complain(message)
        self.exit_code = FAILURE

    def failed(self, file: _File, error: SourceError) -> None:
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


def _files(paths: Sequence[Path], report: _Report) -> Iterator[_File]:
    """The files that are meant: those that are named, those in folders that are named, and standard input."""
    for index, path in enumerate(paths):
        if path == STANDARD_INPUT:
            try:
                with _standard_input_as_file() as copy:
                    yield _File(copy, str(path))
            except SourceError as error:
                report.complain(error)
        elif os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for names that are too long)
            yield from _files_in(path, paths[:index], report)
        else:
            yield _File(path, str(path))


def _files_in(folder: Path, named: Sequence[Path], report: _Report) -> Iterator[_File]:
    """The files of a folder that were not `named` before."""
    contents = look_through(folder)
    report.skipped += contents.skipped
    for problem in contents.problems:
        report.complain(problem)
    tried = report.tried
    for path in contents.files:
        if path not in named:
            yield _File(path, str(path), from_folder=True)
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


def _print(tag: Tag, as_json: bool) -> None:
    """Print a line, whatever characters the terminal has."""
    encoding = sys.stdout.encoding or "utf-8"
    if as_json:
        print(tag.as_json(encoding))
    else:
        print(tag.as_text().encode(encoding, "backslashreplace").decode(encoding))


def with_labels(label_set: LabelSet, names: Sequence[str]) -> LabelSet:
    """These labels, as in the label set where it has them, otherwise with default thresholds."""
    known = {label.name: label for label in label_set.labels}
    labels = tuple(known.get(name, LabelSettings(name=name)) for name in dict.fromkeys(names))
    return label_set.model_copy(update={"labels": labels})


def _window_count(path: Path, hop_seconds: float) -> float:
    """About how many windows a file has, for the progress bar; reading it will tell what is wrong with it."""
    try:
        return max(1.0, claimed_seconds(path) / hop_seconds)
    except SourceError:
        return 1.0
