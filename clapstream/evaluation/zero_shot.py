"""Zero-shot accuracy on a list of labelled files: the engine of `clapstream eval`.

The labels of the list are put into a prompt, and every clip goes to the label whose prompt is closest. No threshold
and no background takes part, so the figures compare with those published for other CLAP checkpoints.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.evaluation.clips import LabelledClip, read_clips
from clapstream.evaluation.embedder import ClapEmbedder, Embedder, Floats, OnProgress, embed_clips
from clapstream.evaluation.metrics import average_precision, confusion, top1

DEFAULT_TEMPLATE = "This is a sound of {label}."


class TemplateError(Exception):
    """The prompt template cannot be filled with a label."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How well one label is told apart; `taken_for` is where most of its misses went, empty without misses."""

    label: str
    clips: int
    recall: float
    average_precision: float
    taken_for: str


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """Top-1 accuracy of the clips of one fold."""

    fold: str
    clips: int
    top1: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The figures; `confusion` counts clips by true label (row) and closest label (column), in `labels`' order."""

    checkpoint: str
    template: str
    clips: int
    top1: float
    mean_average_precision: float
    labels: tuple[LabelFigures, ...]
    folds: tuple[FoldFigures, ...]
    confusion: NDArray[np.int64]


def evaluate(
    csv_path: Path,
    checkpoint: str = "bundled",
    *,
    template: str = DEFAULT_TEMPLATE,
    device: str = "auto",
    audio_folder: Path | None = None,
    progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on a CSV with the columns file, label and, optionally, fold.

    Files are relative to `audio_folder`, by default the CSV's own folder. Raises ClipListError (also for audio that
    cannot be read), TemplateError, and what `ClapEmbedder` raises.
    """
    clips = read_clips(csv_path, audio_folder)
    fill_template(template, "anything")  # A wrong template shall not cost the time to load a checkpoint.
    embedder = ClapEmbedder(checkpoint, device)
    return evaluate_clips(clips, embedder, checkpoint=checkpoint, template=template, progress=progress)


def evaluate_clips(
    clips: Sequence[LabelledClip],
    embedder: Embedder,
    *,
    checkpoint: str = "",
    template: str = DEFAULT_TEMPLATE,
    progress: OnProgress | None = None,
) -> Evaluation:
    """Evaluate anything that embeds; `checkpoint` is only its name. Raises as `evaluate` does."""
    names = sorted({clip.label for clip in clips})
    prompts = embedder.embed_texts([fill_template(template, name) for name in names])
    similarity = embed_clips(clips, embedder, progress) @ prompts.T
    truth = np.array([names.index(clip.label) for clip in clips], dtype=np.int64)
    counts = confusion(similarity.argmax(axis=1), truth, len(names))
    figures = _label_figures(similarity, truth, names, counts)
    return Evaluation(
        checkpoint=checkpoint,
        template=template,
        clips=len(clips),
        top1=top1(similarity, truth),
        mean_average_precision=float(np.mean([figure.average_precision for figure in figures])),
        labels=figures,
        folds=_fold_figures(similarity, truth, [clip.fold for clip in clips]),
        confusion=counts,
    )


def fill_template(template: str, label: str) -> str:
    """The prompt of a label, whose underscores are spaces; raises TemplateError unless it has just `{label}`."""
    try:
        fields = {part[1:] for part in string.Formatter().parse(template) if part[1] is not None}
    except ValueError as error:
        raise TemplateError(f"template {template!r}: {error}") from error
    if fields != {("label", "", None)}:
        raise TemplateError(f"template {template!r}: must have {{label}}, and nothing else, in braces")
    return template.format(label=label.replace("_", " "))


def _label_figures(
    similarity: Floats, truth: NDArray[np.int64], names: Sequence[str], counts: NDArray[np.int64]
) -> tuple[LabelFigures, ...]:
    """Average precision ranks all clips by their similarity to one label, as published mAP figures do."""
    figures = []
    for index, name in enumerate(names):
        misses = counts[index].copy()
        misses[index] = 0
        clips = int(counts[index].sum())
        figures.append(
            LabelFigures(
                label=name,
                clips=clips,
                recall=float(counts[index, index] / clips),
                average_precision=average_precision(similarity[:, index], truth == index),
                taken_for=names[int(misses.argmax())] if misses.any() else "",
            )
        )
    return tuple(figures)


def _fold_figures(similarity: Floats, truth: NDArray[np.int64], folds: Sequence[str]) -> tuple[FoldFigures, ...]:
    of_clip = np.array(folds)
    names = sorted(set(folds) - {""}, key=lambda fold: (len(fold), fold))
    return tuple(
        FoldFigures(name, int(np.sum(of_clip == name)), top1(similarity[of_clip == name], truth[of_clip == name]))
        for name in names
    )
