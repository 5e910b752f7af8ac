"""`clapstream tag`: tell what is in sound files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from clapstream.audio.block import RATE_HZ
from clapstream.audio.files.file_reader import shown_name
from clapstream.audio.files.recording import claimed_seconds, recording_blocks
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, USAGE, complain, settings_or_complaints
from clapstream.commands.sound_files import Report, sound_files
from clapstream.commands.tag_windows import ScoresWindows, Tag, tag_blocks
from clapstream.config import LabelSet, LabelSettings, WindowSettings
from clapstream.daemon.build import EXPECTED
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine


def run(options: argparse.Namespace) -> int:
    """Tag every file; one that cannot be read is said and does not keep the others from being tagged."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    label_set = settings.labels if options.label is None else with_labels(settings.labels, options.label)
    thresholds = [(label.name, 0.0 if options.all else label.start) for label in label_set.labels]
    try:
        labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(label_set)
        detector = WindowScorer(TorchEngine(settings.model, settings.cache_directory), labels)
    except EXPECTED as error:
        complain(error)
        return FAILURE
    return tag_files(options.files, detector, thresholds, settings.window, as_json=options.json)


def tag_files(
    paths: Sequence[Path],
    detector: ScoresWindows,
    thresholds: Sequence[tuple[str, float]],
    window: WindowSettings,
    *,
    as_json: bool,
) -> int:
    """Print the tags of every file above `thresholds`, which name the labels; returns the exit code.

    A folder stands for the sound files in it, `-` for a file on standard input.
    """
    report = Report()
    progress = Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file must not go to the terminal instead
    )
    with progress:
        for file in sound_files(paths, report):
            windows = _window_count(file.path, window.hop_seconds)
            task = progress.add_task(escape(shown_name(Path(file.name).name)), total=windows)
            try:
                for tags in tag_blocks(
                    file.name,
                    recording_blocks(file.path, shown=shown_name(file.name)),
                    detector,
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
    report.tell_skipped()
    return report.exit_code


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
