"""The labelled sounds, decoded once into one float16 file of samples and a table of where each recording lies."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from training import paths
from training.split import held_out

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """One labelled recording: where its samples lie in the decoded file, and its row of the table."""

    file: str
    label: str
    group: str
    first_sample: int
    end_sample: int
    row: dict[str, str]


class Recordings:
    """All recordings of one folder, decoded to mono 48 kHz."""

    def __init__(self, name: str) -> None:
        spans = np.load(decode(name))
        self._samples = np.load(paths.cache() / f"{name}.samples.npy", mmap_mode="r")
        self.recordings = [
            Recording(row["file"], row["label"], row["group"], int(first), int(first + count), row)
            for row, (first, count) in zip(read_table(name), spans, strict=True)
        ]

    def samples(self, recording: Recording) -> Samples:
        """The recording's samples, full scale 1.0."""
        samples: Samples = self._samples[recording.first_sample : recording.end_sample].astype(np.float32)
        return samples

    def held_out(self) -> list[Recording]:
        """The recordings that training never uses."""
        kept = held_out((recording.label, recording.group) for recording in self.recordings)
        return [recording for recording in self.recordings if (recording.label, recording.group) in kept]


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of the CSV of folder `name`: file, label, group, caption, seconds, source, licence."""
    return read_rows(paths.data() / f"{name}.csv")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV as dictionaries."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read(path: Path) -> Samples:
    """A file's samples `(samples,)`, mono; raises ValueError unless it is at 48 kHz."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    if rate_hz != paths.RATE_HZ:
        raise ValueError(f"{path}: {rate_hz} Hz instead of {paths.RATE_HZ} Hz")
    return np.asarray(samples.mean(axis=1), dtype=np.float32)


def decode(name: str) -> Path:
    """Decode folder `name` unless done; return the table of (first sample, number of samples) of each recording."""
    table = paths.cache() / f"{name}.table.npy"
    if not table.exists():
        paths.cache().mkdir(parents=True, exist_ok=True)
        spans, parts, first = [], [], 0
        for row in read_table(name):
            samples = read(paths.data() / name / row["file"])
            parts.append(samples.astype(np.float16))
            spans.append((first, len(samples)))
            first += len(samples)
        np.save(paths.cache() / f"{name}.samples.npy", np.concatenate(parts))
        np.save(table, np.array(spans))
    return table
