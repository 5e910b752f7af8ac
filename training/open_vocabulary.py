"""Measures the open vocabulary: how often a text that training never saw is closest to its sound among 30 labels.

For each row of `paraphrases.csv` the paraphrase replaces its label's name among the 30 labels of the list, and for
every validation clip of that label the closest of the 30 is found. Texts are put into the templates of the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clapstream.evaluation.clips import LabelledClip, read_clips
from clapstream.evaluation.embedder import ClapEmbedder, Embedder, Floats, embed_clips
from clapstream.inference.text_embeddings import TEMPLATES
from training import paths
from training.phrase_files import display_names, read_paraphrases


@dataclass(frozen=True, slots=True)
class ParaphraseFigures:
    """Of `clips` clips of the label, so many are closest to the paraphrase; `by_name` is the same with its name."""

    paraphrase: str
    label: str
    clips: int
    first: int
    by_name: int


def measure(
    paraphrases: Sequence[tuple[str, str]], names: dict[str, str], clips: Sequence[LabelledClip], embedder: Embedder
) -> list[ParaphraseFigures]:
    """The figures of each paraphrase."""
    labels = sorted({label for _, label in paraphrases})
    clips = [clip for clip in clips if clip.label in labels]
    of_label = np.array([clip.label for clip in clips])
    audio = embed_clips(clips, embedder)
    by_name = audio @ embed_names([names[label] for label in labels], embedder).T
    by_paraphrase = audio @ embed_names([paraphrase for paraphrase, _ in paraphrases], embedder).T
    figures = []
    for column, (paraphrase, label) in enumerate(paraphrases):
        own, index = of_label == label, labels.index(label)
        rivals = np.delete(by_name[own], index, axis=1).max(axis=1)
        figures.append(
            ParaphraseFigures(
                paraphrase,
                label,
                clips=int(own.sum()),
                first=int(np.sum(by_paraphrase[own, column] > rivals)),
                by_name=int(np.sum(by_name[own, index] > rivals)),
            )
        )
    return figures


def embed_names(names: Sequence[str], embedder: Embedder) -> Floats:
    """Unit-length embeddings `(names, dim)`, each the mean over the daemon's templates."""
    means = np.mean(
        [embedder.embed_texts([template.format(name) for name in names]) for template in TEMPLATES], axis=0
    )
    embeddings: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
    return embeddings


def render(figures: Sequence[ParaphraseFigures]) -> str:
    """The figures as text."""
    clips = sum(row.clips for row in figures)
    shares = [row.first / row.clips for row in figures]
    lines = [
        f"clips whose paraphrase is first:      {sum(row.first for row in figures) / clips:.1%}",
        f"mean over paraphrases:                {np.mean(shares):.1%}",
        f"paraphrases first for most clips:     {sum(share > 0.5 for share in shares)} of {len(figures)}",
        f"the same with the labels' own names:  {sum(row.by_name for row in figures) / clips:.1%} of clips",
        "",
    ]
    lines += [f"{row.first:>3} of {row.clips:>2}  {row.paraphrase} ({row.label})" for row in figures]
    return "\n".join(lines)


def report(checkpoint: str) -> str:
    """The figures of a checkpoint: `bundled`, a directory or a hub id."""
    clips = read_clips(paths.data() / "validation.csv", paths.data() / "validation")
    return render(measure(read_paraphrases(), display_names(), clips, ClapEmbedder(checkpoint)))
