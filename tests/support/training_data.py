"""A small folder in the form of the training data: two lists of clips and the clips."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from training.scene import ALONE

LABELS = ("doorbell", "sneeze", "rain", "door_slam")


def tone(seconds: float, level: float = 0.5) -> NDArray[np.float32]:
    """A sine of 382 Hz, `(samples,)` at 48 kHz."""
    samples = level * np.sin(np.arange(round(seconds * RATE_HZ)) * 0.05)
    return np.asarray(samples, dtype=np.float32)


def write_training_data(folder: Path) -> None:
    """Write two clips of each of the labels and six seconds of each background."""
    rows: dict[str, list[tuple[str, str, str, NDArray[np.float32]]]] = {"validation": [], "open": []}
    for label in LABELS:
        rows["validation"] += [(f"{label}-{number}.flac", label, f"a {label}", tone(0.5)) for number in (1, 2)]
    for kind in ALONE:
        rows[kind.folder].append(
            (f"{kind.data_label}.flac", kind.data_label, f"{kind.caption_part} sound", tone(6.0))
        )
    for name, clips in rows.items():
        (folder / name).mkdir()
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["file", "label", "caption", "seconds", "group"])
            for file, label, caption, samples in clips:
                soundfile.write(folder / name / file, samples, RATE_HZ)
                writer.writerow([file, label, caption, len(samples) / RATE_HZ, "one"])
