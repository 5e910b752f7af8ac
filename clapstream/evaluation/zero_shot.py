"""Zero-shot accuracy on a list of labelled files: what `clapstream eval` measures.

Each label of the list is put into a prompt, and a clip's scores are the cosines between its embedding and the
prompts'. Thresholds and background texts are not used, so the figures compare with those published for other CLAP
checkpoints.
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
from clapstream.evaluation.metrics import (
    average_precisions,
    confusion,
    macro_recall,
    mean_average_precision,
    recalls,
    top1,
)

DEFAULT_TEMPLATE = "This is a sound of {label}."


class TemplateError(Exception):
    """The prompt template cannot be filled with a label."""


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """The figures of one label; `taken_for` is the label that most of its misses got, empty without misses."""

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
    """The figures; `confusion` counts clips by true label (row) and highest score (column), in `labels`' order."""

    checkpoint: str
    template: str
    clips: int
    top1: float
    macro_recall: float
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
    fill_template(template, "anything")  # before a checkpoint is loaded, which takes long
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
    """Evaluate any embedder; `checkpoint` is only its name. Raises ClipListError and TemplateError."""
    labels = sorted({clip.label for clip in clips})
    prompts = embedder.embed_texts([fill_template(template, label) for label in labels])
    similarity = embed_clips(clips, embedder, progress) @ prompts.T
    truth = np.array([labels.index(clip.label) for clip in clips], dtype=np.int64)
    folds = [clip.fold for clip in clips]
    return evaluate_scores(similarity, truth, labels, folds=folds, checkpoint=checkpoint, template=template)


def evaluate_scores(
    scores: Floats,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    *,
    folds: Sequence[str] | None = None,
    checkpoint: str = "",
    template: str = "",
) -> Evaluation:
    """The figures of scores `(clips, labels)`, of any classifier: higher means likelier.

    `truth` `(clips,)` is the index of each clip's label in `labels`; `folds` names each clip's fold ("" for none).
    The formulas are in `clapstream.evaluation.metrics`. Raises ValueError for a label without clips.
    """
    missing = sorted(set(range(len(labels))) - set(truth.tolist()))
    if missing:
        raise ValueError(f"no clip has the label {labels[missing[0]]!r}")
    counts = confusion(scores.argmax(axis=1), truth, len(labels))
    return Evaluation(
        checkpoint=checkpoint,
        template=template,
        clips=len(truth),
        top1=top1(scores, truth),
        macro_recall=macro_recall(scores, truth),
        mean_average_precision=mean_average_precision(scores, truth),
        labels=_label_figures(scores, truth, labels, counts),
        folds=() if folds is None else _fold_figures(scores, truth, folds),
        confusion=counts,
    )


def fill_template(template: str, label: str) -> str:
    """The prompt of a label, underscores as spaces; raises TemplateError unless `{label}` is the only field."""
    try:
        fields = {part[1:] for part in string.Formatter().parse(template) if part[1] is not None}
    except ValueError as error:
        raise TemplateError(f"template {template!r}: {error}") from error
    if fields != {("label", "", None)}:
        raise TemplateError(f"template {template!r}: must contain {{label}} and no other field in braces")
    return template.format(label=label.replace("_", " "))


def _label_figures(
    scores: Floats, truth: NDArray[np.int64], labels: Sequence[str], counts: NDArray[np.int64]
) -> tuple[LabelFigures, ...]:
    misses = counts - np.diag(np.diag(counts))
    return tuple(
        LabelFigures(
            label=label,
            clips=int(counts[index].sum()),
            recall=float(recall),
            average_precision=float(precision),
            taken_for=labels[int(misses[index].argmax())] if misses[index].any() else "",
        )
        for index, (label, recall, precision) in enumerate(
            zip(labels, recalls(scores, truth), average_precisions(scores, truth), strict=True)
        )
    )


def _fold_figures(scores: Floats, truth: NDArray[np.int64], folds: Sequence[str]) -> tuple[FoldFigures, ...]:
    of_clip = np.array(folds)
    names = sorted(set(folds) - {""}, key=lambda fold: (len(fold), fold))
    return tuple(
        FoldFigures(name, int(np.sum(of_clip == name)), top1(scores[of_clip == name], truth[of_clip == name]))
        for name in names
    )
