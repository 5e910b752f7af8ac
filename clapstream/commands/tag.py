"""`clapstream tag`: tell what is in sound files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from clapstream.assembly import EXPECTED
from clapstream.audio.block import RATE_HZ
from clapstream.audio.recording import claimed_seconds, recording_blocks
from clapstream.audio.source import SourceError
from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.config import LabelSet, LabelSettings, WindowSettings
from clapstream.detection.detector import Detector
from clapstream.tagging import WindowScorer, tag_blocks


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
    """Print the tags of every file above `thresholds`, which name the labels; returns the exit code."""
    exit_code = OK
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for path in paths:
            windows = _window_count(path, window.hop_seconds)
            task = progress.add_task(path.name, total=windows)
            try:
                for tags in tag_blocks(
                    str(path),
                    recording_blocks(path),
                    detector,
                    thresholds,
                    window_frames=round(window.seconds * RATE_HZ),
                    hop_frames=round(window.hop_seconds * RATE_HZ),
                ):
                    progress.advance(task)
                    for tag in tags:
                        print(tag.as_json() if as_json else tag.as_text())
            except SourceError as error:
                complain(error)
                exit_code = FAILURE
            progress.update(task, completed=windows)
    return exit_code


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
