"""Decode the labelled sounds once: one float16 file of samples and a table that says where each clip lies."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.paths import CACHE, DATA, RATE_HZ
from training.split import spared


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled recording: where its samples lie, and the row of the table it came from."""

    file: str
    label: str
    group: str
    first: int
    frames: int
    row: dict[str, str]


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of `../shared/data/<name>.csv`."""
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Clips:
    """All clips of one folder, decoded to mono 48 kHz."""

    def __init__(self, name: str) -> None:
        decoded = np.load(prepare(name))
        self._samples = np.load(CACHE / f"{name}.samples.npy", mmap_mode="r")
        self.clips = [
            Clip(row["file"], row["label"], row["group"], int(first), int(frames), row)
            for row, (first, frames) in zip(read_table(name), decoded, strict=True)
        ]

    def samples(self, clip: Clip) -> NDArray[np.float32]:
        """The clip's samples, full scale 1.0."""
        return self._samples[clip.first : clip.first + clip.frames].astype(np.float32)

    def spared(self) -> list[Clip]:
        """The clips that training never hears."""
        kept = spared((clip.label, clip.group) for clip in self.clips)
        return [clip for clip in self.clips if (clip.label, clip.group) in kept]


def prepare(name: str) -> str:
    """Decode folder `name` unless done; return the path of the table of (first sample, samples) a clip."""
    table = CACHE / f"{name}.table.npy"
    if not table.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        spans, parts, first = [], [], 0
        for row in read_table(name):
            samples, rate = soundfile.read(DATA / name / row["file"], dtype="float32", always_2d=True)
            if rate != RATE_HZ:
                raise ValueError(f"{row['file']}: {rate} Hz, expected {RATE_HZ}")
            parts.append(samples.mean(axis=1).astype(np.float16))
            spans.append((first, len(samples)))
            first += len(samples)
        np.save(CACHE / f"{name}.samples.npy", np.concatenate(parts))
        np.save(table, np.array(spans))
    return str(table)
