"""Does the gate change any event? The evaluation scenes, real rooms and steady noise with faint and loud sounds.

    python -m benchmarks.gate                     # some minutes
    python -m benchmarks.gate --scenes 4 --rooms 4 --noises 4

Every window is scored once. Then the events are made of the scores with and without the gate, at the thresholds of
the packaged labels and at parts of them: what a model that hears better would report.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate_sounds import NOISES, led_scenes, noises, rooms
from benchmarks.listening import RememberedEmbeddings, hear_recording
from benchmarks.model import Model
from clapstream.config import Settings, load_settings
from training.paths import DATA
from training.scenes import SCENES

Floats = NDArray[np.float32]

THRESHOLD_SHARES = (1.0, 0.5, 0.25)


@dataclass(slots=True)
class Figures:
    """What was heard of one kind of sound at one share of the thresholds."""

    windows: int = 0
    passed: int = 0
    events: int = 0
    changed: int = 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of all kinds of sound at all thresholds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the training data")
    parser.add_argument("--scenes", type=int, default=SCENES, help="how many evaluation scenes")
    parser.add_argument("--rooms", type=int, default=12, help="how many rooms")
    parser.add_argument("--noises", type=int, default=2 * len(NOISES), help="how many times noise")
    parser.add_argument("--seconds", type=int, default=600, help="how long each room and each noise lasts")
    options = parser.parse_args(arguments)
    settings = load_settings(None)
    checkpoint = settings.model.model_copy(update={"checkpoint": options.checkpoint})
    model = Model(checkpoint, settings.labels, settings.cache_directory)
    print("sounds    thresholds  windows  passed  events  changed")
    kinds = {
        "scenes": led_scenes(options.data, options.scenes),
        "rooms": rooms(options.data, options.rooms, options.seconds),
        "noise": noises(options.data, options.noises, options.seconds),
    }
    for kind, sounds in kinds.items():
        figures = {share: Figures() for share in THRESHOLD_SHARES}
        for samples in sounds:
            compare(samples, RememberedEmbeddings(model), settings, figures)
        for share, found in figures.items():
            counts = f"{found.windows:>7}  {found.passed:>6}  {found.events:>6}  {found.changed:>7}"
            print(f"{kind:<8}  {share:>10.2f}  {counts}", flush=True)


def compare(
    samples: Floats, scores: RememberedEmbeddings, settings: Settings, figures: Mapping[float, Figures]
) -> None:
    """Listen to a sound with and without the gate at each share of the thresholds, and add up what was heard."""
    for share, figure in figures.items():
        without = hear_recording(samples, scores, settings, threshold_share=share, gated=False)
        gated = hear_recording(samples, scores, settings, threshold_share=share, gated=True)
        figure.windows += gated.scored_windows + gated.gated_windows
        figure.passed += gated.gated_windows
        figure.events += len(without.events)
        figure.changed += len(without.events ^ gated.events)


if __name__ == "__main__":
    main()
