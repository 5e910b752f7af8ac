"""Figures on the validation list and on the held-out recordings of open/, by `clapstream eval`'s code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.evaluation.clips import LabelledClip
from clapstream.evaluation.embedder import ClapEmbedder, Embedder
from clapstream.evaluation.metrics import average_precision, confusion, top1
from clapstream.evaluation.zero_shot import evaluate_clips
from training import paths
from training.paths import WINDOW_SAMPLES
from training.recordings import read, read_table
from training.split import held_out
from training.texts import label_classes, label_phrases
from training.yamnet import Yamnet, class_names

Floats = NDArray[np.float32]

STREET = {
    "fan_air_conditioner": "air conditioner",
    "car_horn": "car horn",
    "shouting_screaming": "children playing",
    "dog_barking": "dog bark",
    "drill": "drilling",
    "car_engine": "engine idling",
    "gunshot": "gun shot",
    "hammering": "jackhammer",
    "siren": "siren",
    "music": "street music",
}
"""Ten street sounds in the words of a public benchmark, by the nearest labels there are here."""
EVERYDAY = {
    "dog_barking": "dog",
    "rooster": "rooster",
    "rain": "rain",
    "sea_waves": "sea waves",
    "fire_crackling": "crackling fire",
    "crying_baby": "crying baby",
    "sneeze": "sneezing",
    "clock_ticking": "clock tick",
    "helicopter": "helicopter",
    "chainsaw": "chainsaw",
}
"""The same for ten everyday sounds."""


def report(folder: Path) -> str:
    """All figures for the checkpoint in `folder`."""
    embedder = ClapEmbedder(str(folder))
    everything = {label: phrases[0] for label, phrases in label_phrases().items()}
    lines = []
    for name, shown in (("validation", "validation"), ("open", "open, held out")):
        clips = labelled_clips(name)
        teacher = teacher_probabilities(name, clips)
        for which, words in (("", everything), (", street", STREET), (", everyday", EVERYDAY)):
            lines.append(f"{shown}{which}: {compare(clips, teacher, words, embedder)}")
    return "\n".join(lines)


def labelled_clips(name: str) -> list[LabelledClip]:
    """All recordings of `validation`, or the held-out ones of `open`."""
    rows = read_table(name)
    if name != "validation":
        kept = held_out((row["label"], row["group"]) for row in rows)
        rows = [row for row in rows if (row["label"], row["group"]) in kept]
    return [LabelledClip(paths.data() / name / row["file"], row["label"]) for row in rows]


def teacher_probabilities(name: str, clips: list[LabelledClip]) -> Floats:
    """YAMNet's mean probabilities `(clips, classes)`; computed once."""
    path = paths.cache() / f"teacher_{name}.npy"
    if not path.exists():
        teacher = Yamnet()
        heard = [teacher(read(clip.path)[:WINDOW_SAMPLES]).logits.clip(-30, 30) for clip in clips]
        np.save(path, np.stack([(1 / (1 + np.exp(-logits))).mean(0) for logits in heard]))
    stored: Floats = np.load(path)
    return stored


def compare(clips: list[LabelledClip], teacher: Floats, words: dict[str, str], embedder: Embedder) -> str:
    """A line of figures for the clips whose label is in `words` (label to the words it is asked for)."""
    labels = [label for label in words if label in {clip.label for clip in clips}]
    rows = [row for row, clip in enumerate(clips) if clip.label in labels]
    asked = [replace(clips[row], label=words[clips[row].label]) for row in rows]
    evaluation = evaluate_clips(asked, embedder)
    balanced = float(np.mean([figures.recall for figures in evaluation.labels]))
    own = f"top-1 {evaluation.top1:.3f} balanced {balanced:.3f} mAP {evaluation.mean_average_precision:.3f}"
    truth = np.array([labels.index(clips[row].label) for row in rows])
    scores = label_scores(teacher[rows], labels)
    return f"{len(rows)} clips, {len(labels)} labels: clapstream {own}; YAMNet {teacher_figures(scores, truth)}"


def label_scores(teacher: Floats, labels: list[str]) -> Floats:
    """YAMNet's score `(clips, labels)` of each label: that of the first class it implies, 0 if it implies none."""
    index = {name: number for number, name in enumerate(class_names())}
    scores = np.zeros((len(teacher), len(labels)), np.float32)
    for column, label in enumerate(labels):
        if label_classes()[label]:
            scores[:, column] = teacher[:, index[label_classes()[label][0]]]
    return scores


def teacher_figures(scores: Floats, truth: NDArray[np.int64]) -> str:
    """Top-1, mean recall over the labels and mean average precision of scores `(clips, labels)`."""
    counts = confusion(scores.argmax(axis=1), truth, scores.shape[1])
    balanced = float(np.mean(np.diag(counts) / counts.sum(axis=1)))
    precision = np.mean([average_precision(scores[:, label], truth == label) for label in range(scores.shape[1])])
    return f"top-1 {top1(scores, truth):.3f} balanced {balanced:.3f} mAP {precision:.3f}"
