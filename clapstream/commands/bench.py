"""`clapstream bench`: how fast this machine hears."""

from __future__ import annotations

import argparse
import resource
import sys

import torch

from clapstream.commands.bench_speed import measure, report
from clapstream.commands.reporting import FAILURE, OK, USAGE, complain, settings_or_complaints
from clapstream.daemon.build import EXPECTED
from clapstream.inference.torch_engine import Detector


def run(options: argparse.Namespace) -> int:
    """Load the configured model and print its figures."""
    settings = settings_or_complaints(options.config)
    if settings is None:
        return USAGE
    try:
        detector = Detector(settings.model, settings.labels, settings.cache_directory)
    except EXPECTED as error:
        complain(error)
        return FAILURE
    precision = str(detector.precision).removeprefix("torch.")
    print(
        f"{detector.checkpoint} on {detector.device}, {precision}, threads: {torch.get_num_threads()}", flush=True
    )
    with torch.inference_mode():
        gated = settings.gate.enabled and not any(label.always_score for label in settings.labels.labels)
        check_seconds = settings.gate.check_seconds if gated else None
        speed = measure(detector, settings.window.seconds, settings.window.hop_seconds, check_seconds)
    print(report(speed), end="")
    print(f"{'peak memory':<34}{_peak_mb():>7.0f} MB")
    return OK


def _peak_mb() -> float:
    """Of this process; the unit of the system's figure is bytes on macOS, else KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
