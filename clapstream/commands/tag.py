"""`clapstream tag`: print the labels heard in sound files, window by window, as fast as the machine can."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.files.file_reader import shown_name
from clapstream.audio.files.file_windows import file_windows
from clapstream.audio.files.recording import claimed_seconds, recording_blocks
from clapstream.audio.source import SourceError
from clapstream.audio.windower import Window
from clapstream.commands.reporting import FAILURE, USAGE, print_error, settings_or_print_errors
from clapstream.commands.sound_files import Report, sound_files
from clapstream.config import LabelSet, LabelSettings, WindowSettings
from clapstream.daemon.build import EXPECTED
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine

Floats = NDArray[np.float32]
_WINDOWS_AT_ONCE = 8


class ScoresWindows(Protocol):
    """Scores `(windows, labels)` of mono 48 kHz samples `(samples,)` each."""

    def score(self, windows: Sequence[Floats]) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Tag:
    """The score of a label in one window of a file; times count from the start of the file."""

    file: str
    start_seconds: float
    end_seconds: float
    label: str
    score: float

    def as_json(self, encoding: str = "utf-8") -> str:
        """One JSON object on one line; characters that `encoding` lacks are escaped."""
        fields = {
            "file": self.file,
            "start": round(self.start_seconds, 3),
            "end": round(self.end_seconds, 3),
            "label": self.label,
            "score": round(self.score, 4),
        }
        line = json.dumps(fields, ensure_ascii=False)
        try:
            line.encode(encoding)
        except UnicodeEncodeError:  # also raised for file names that are not valid UTF-8
            return json.dumps(fields)
        return line

    def as_text(self) -> str:
        """One line of a table."""
        times = f"{self.start_seconds:8.2f} {self.end_seconds:8.2f}"
        return f"{shown_name(self.file)}  {times}  {self.score:.2f}  {self.label}"


def run(options: argparse.Namespace) -> int:
    """Tag every file; one that cannot be read is reported, and the others are still tagged."""
    settings = settings_or_print_errors(options.config)
    if settings is None:
        return USAGE
    label_set = settings.labels if options.label is None else with_labels(settings.labels, options.label)
    thresholds = [(label.name, 0.0 if options.all else label.start) for label in label_set.labels]
    try:
        labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(label_set)
        scorer = WindowScorer(TorchEngine(settings.model, settings.cache_directory), labels)
    except EXPECTED as error:
        print_error(error)
        return FAILURE
    return tag_files(options.files, scorer, thresholds, settings.window, as_json=options.json)


def with_labels(label_set: LabelSet, names: Sequence[str]) -> LabelSet:
    """The named labels, with the settings that the label set has for them, otherwise with default thresholds."""
    known = {label.name: label for label in label_set.labels}
    labels = tuple(known.get(name, LabelSettings(name=name)) for name in dict.fromkeys(names))
    return label_set.model_copy(update={"labels": labels})


def tag_files(
    paths: Sequence[Path],
    scorer: ScoresWindows,
    thresholds: Sequence[tuple[str, float]],
    window: WindowSettings,
    *,
    as_json: bool,
) -> int:
    """Print the tags of every file; `thresholds` are labels and their lowest scores. Returns the exit code.

    A folder stands for the sound files in it, `-` for a file on standard input.
    """
    report = Report()
    progress = Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),  # rich would print to the terminal what is meant for a file
    )
    with progress:
        for file in sound_files(paths, report):
            windows = _window_count(file.path, window.hop_seconds)
            task = progress.add_task(escape(shown_name(Path(file.name).name)), total=windows)
            try:
                for tags in tag_blocks(
                    file.name,
                    recording_blocks(file.path, shown=shown_name(file.name)),
                    scorer,
                    thresholds,
                    window_samples=round(window.seconds * RATE_HZ),
                    hop_samples=round(window.hop_seconds * RATE_HZ),
                ):
                    progress.advance(task)
                    for tag in tags:
                        _print(tag, as_json)
                report.tried += 1
            except SourceError as error:
                report.failed(file, error)
            progress.remove_task(task)
    report.print_skipped()
    return report.exit_code


def _window_count(path: Path, hop_seconds: float) -> float:
    """About how many windows a file has, for the progress bar; errors are left to whoever reads the file."""
    try:
        return max(1.0, claimed_seconds(path) / hop_seconds)
    except SourceError:
        return 1.0


def _print(tag: Tag, as_json: bool) -> None:
    """Print a line; characters that standard output's encoding lacks are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    if as_json:
        print(tag.as_json(encoding))
    else:
        print(tag.as_text().encode(encoding, "backslashreplace").decode(encoding))


def tag_blocks(
    file: str,
    blocks: Iterable[Block],
    scorer: ScoresWindows,
    thresholds: Sequence[tuple[str, float]],
    *,
    window_samples: int,
    hop_samples: int,
) -> Iterator[list[Tag]]:
    """The tags of each window of a file, in order; `thresholds` are labels and their lowest scores.

    A SourceError of `blocks` is raised after the tags of what came before it.
    """
    for batch in _batches(file_windows(blocks, window_samples, hop_samples)):
        for window, row in zip(batch, scorer.score([window.samples for window in batch]), strict=True):
            start, end = window.first_sample / RATE_HZ, window.end_sample / RATE_HZ
            yield [
                Tag(file, start, end, label, float(score))
                for (label, threshold), score in zip(thresholds, row, strict=True)
                if score >= threshold
            ]


def _batches(windows: Iterator[Window]) -> Iterator[list[Window]]:
    """Collect windows into batches; a SourceError is raised after the batch of the windows before it."""
    batch: list[Window] = []
    try:
        for window in windows:
            batch.append(window)
            if len(batch) == _WINDOWS_AT_ONCE:
                yield batch
                batch = []
    except SourceError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
