"""`clapstream bench`: how fast this machine hears."""

from __future__ import annotations

import argparse
import resource
import sys

import torch

from clapstream.commands.bench_speed import measure, report
from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.daemon.build import EXPECTED
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine


def run(options: argparse.Namespace) -> int:
    """Load the configured model and print its figures."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    try:
        engine = TorchEngine(settings.model, settings.cache_directory)
        labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(settings.labels)
    except EXPECTED as error:
        complain(error)
        return FAILURE
    print(f"{engine.checkpoint} on {engine.runs_on}, threads: {torch.get_num_threads()}", flush=True)
    with torch.inference_mode():
        gated = settings.gate.enabled and not any(label.always_score for label in settings.labels.labels)
        check_seconds = settings.gate.check_seconds if gated else None
        speed = measure(
            engine,
            WindowScorer(engine, labels),
            settings.window.seconds,
            settings.window.hop_seconds,
            check_seconds,
        )
    print(report(speed), end="")
    print(f"{'peak memory':<34}{_peak_mb():>7.0f} MB")
    return OK


def _peak_mb() -> float:
    """Of this process; the unit of the system's figure is bytes on macOS, else KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
