"""`clapstream check`: name everything that is wrong with the configuration."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from clapstream.audio.files.recording import recording_problem
from clapstream.audio.pyav import AV_PACKAGE, av_is_installed
from clapstream.commands.reporting import OK, USAGE, print_error, settings_or_print_errors
from clapstream.commands.settings_summary import summary
from clapstream.config import RecordingSettings, Settings, SourceSettings, StreamSettings
from clapstream.config.advice import shortened
from clapstream.config.secret_files import readable_by_everyone
from clapstream.sinks.mqtt.delivery import delivery_notes
from clapstream.sinks.mqtt.node_state import spool_path_of
from clapstream.urls import HIDDEN, may_hold_credentials


def run(options: argparse.Namespace) -> int:
    """Check without loading or connecting anything; of a recording the beginning is read."""
    settings = settings_or_print_errors(options.config)
    if settings is None:
        return USAGE
    problems = list(source_problems(settings.sources))
    for problem in problems:
        print_error(problem if options.config is None else f"{options.config}: {problem}")
    if problems:
        return USAGE
    for path in settings.secret_files:
        if readable_by_everyone(path):
            print_error(f"note: every user of this machine can read {path}; chmod o-r keeps the secret")
    if settings.mqtt is not None:
        for note in delivery_notes(spool_path_of(settings.state_directory, settings.node_slug)):
            print_error(f"note: {note}")
    for source in settings.sources:
        if not source.listening and settings.mqtt is None:
            print_error(f"note: source {source.slug} does not listen and cannot be switched on, as mqtt is null")
    if unused := _labels_without_source(settings):
        print_error(f"note: no source listens for these common labels: {shortened(unused)}")
    names = ", ".join(HIDDEN if may_hold_credentials(source.name) else source.name for source in settings.sources)
    print(f"OK: listens to {names}")
    for line in summary(settings):
        print(f"  {line}")
    return OK


def _labels_without_source(settings: Settings) -> list[str]:
    """Names of the common labels that no source listens for."""
    used = {
        label.slug
        for source in settings.sources
        if not isinstance(source.labels, Path)
        for label in settings.labels_of(source).labels
    }
    return [label.name for label in settings.labels.labels if label.slug not in used]


def source_problems(sources: Sequence[SourceSettings]) -> Iterator[str]:
    """Give what keeps sources from ever being heard, as far as it can be found without connecting to anything."""
    for index, source in enumerate(sources):
        match source:
            case RecordingSettings():
                if (problem := recording_problem(source.path)) is not None:
                    yield f"sources[{index}].path: {problem}"
                elif (problem := recording_problem(source.path, source.channel)) is not None:
                    yield f"sources[{index}].channel: {problem}"
            case StreamSettings():
                if not av_is_installed():
                    yield f"sources[{index}].type: network streams need {AV_PACKAGE}"
