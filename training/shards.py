"""The windows of the bank as they are stored, and parts of them with what is known of each part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.bank import PLAIN_FROM
from training.texts import confusable_labels, label_classes
from training.vocabulary import Vocabulary
from training.window import Event
from training.yamnet import PATCH_HOP_SECONDS, WINDOW_PATCHES

PATCH_FRAMES = 48
"""STFT frames from one of the teacher's patches to the next."""
WINDOW_FRAMES = 1001
MISTAKEN = 2.0
"""How much the teacher's logit is lowered where it hears another label in a single recording than its own."""


@dataclass(slots=True)
class Known:
    """A window or a part of one, and what is known of it: `mel` dB `(frames, 64)`, the teacher's `logits`
    `(patches, classes)` and `embeddings` `(patches, 1024)`, and how surely each label is heard `(labels,)`."""

    mel: NDArray[np.float16]
    logits: NDArray[np.float16]
    embeddings: NDArray[np.float16]
    true: NDArray[np.float32]


class Shards:
    """All windows of a bank by their number, memory-mapped."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        shards = sorted(path for path in folder.iterdir() if path.suffix == "")
        self.mels = [np.load(path / "mel.npy", mmap_mode="r") for path in shards]
        self.logits = [np.load(path / "logits.npy", mmap_mode="r") for path in shards]
        self.embeddings = [np.load(path / "embeddings.npy", mmap_mode="r") for path in shards]
        self.events: list[list[Event]] = [
            window for path in shards for window in json.loads((path / "events.json").read_text())
        ]
        self._ends = np.cumsum([len(mel) for mel in self.mels])
        self.plain = np.repeat([int(path.name) >= PLAIN_FROM for path in shards], [len(mel) for mel in self.mels])
        """Which windows are single recordings, hardly changed."""
        self._label_index = {label: number for number, label in enumerate(vocabulary.labels)}
        self._mistaken = np.stack([mistaken(label, vocabulary.classes) for label in vocabulary.labels])

    def part(self, index: int, first: int, last: int) -> Known:
        """What lies between patches `first` and `last` of window `index`."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[shard]) + len(self.mels[shard])
        end = None if last == WINDOW_PATCHES else last * PATCH_FRAMES
        logits = self.logits[shard][row, first:last]
        if self.plain[index]:
            logits = logits - self._mistaken[self._label_index[self.events[index][0][0]]]
        return Known(
            mel=self.mels[shard][row, first * PATCH_FRAMES : end],
            logits=logits,
            embeddings=self.embeddings[shard][row, first:last],
            true=self._true(self.events[index], first * PATCH_HOP_SECONDS, last * PATCH_HOP_SECONDS + 0.4),
        )

    def _true(self, events: list[Event], begin: float, end: float) -> NDArray[np.float32]:
        """How surely each label is heard between two times `(labels,)`: by its level and how much of it is left."""
        found = np.zeros(len(self._label_index), np.float32)
        for label, started, ended, level in events:
            left = (min(end, ended) - max(begin, started)) / max(0.05, min(1.0, ended - started))
            sure = float(np.clip((level + 40) / 14, 0, 1) * np.clip(left, 0, 1))
            found[self._label_index[label]] = max(found[self._label_index[label]], sure)
        return found


def mistaken(label: str, classes: list[str]) -> NDArray[np.float16]:
    """What to subtract from the teacher's logits `(classes,)` of a recording of `label`: those of other labels."""
    meant = {"Speech", "Animal", "Vehicle"}  # somebody may always speak, and much is an animal or an engine
    confusable = confusable_labels()[label]
    meant |= {name for other, names in label_classes().items() if other in confusable for name in names}
    others = {names[0] for names in label_classes().values() if names} - meant
    return np.array([MISTAKEN * (name in others) for name in classes], np.float16)


def joined(parts: list[Known]) -> Known:
    """Parts one after the other as one window, each label as surely as in the part where it is surest.

    The rest of the window is silence, with zeros for embeddings.
    """
    mel = np.concatenate([part.mel for part in parts])[:WINDOW_FRAMES]
    silent = ((0, WINDOW_PATCHES - sum(len(part.logits) for part in parts)), (0, 0))
    return Known(
        mel=np.pad(mel, ((0, WINDOW_FRAMES - len(mel)), (0, 0)), constant_values=-100.0),
        logits=np.pad(np.concatenate([part.logits for part in parts]), silent, constant_values=-20),
        embeddings=np.pad(np.concatenate([part.embeddings for part in parts]), silent),
        true=np.max([part.true for part in parts], axis=0),
    )
