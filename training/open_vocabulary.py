"""Does the vocabulary stay open? How often a wording that training never saw ranks its sound first among 30 labels.

    python -m training.open_vocabulary --checkpoint bundled

For each row of `paraphrases.csv` the paraphrase takes the place of its label's name among the 30 labels of the
list, and every validation clip of that label is asked which of the 30 is closest. Texts are put as the daemon puts
a bare label name.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from clapstream.evaluation.clips import LabelledClip, read_clips
from clapstream.evaluation.embedder import ClapEmbedder, Embedder, Floats, embed_clips
from clapstream.inference.text_embeddings import TEMPLATES
from training.paths import DATA, PHRASES, ROOT

PARAPHRASES = ROOT / "training" / "paraphrases.csv"


@dataclass(frozen=True, slots=True)
class ParaphraseFigures:
    """Of `clips` clips of the label, so many are closest to the paraphrase; `by_name` is the same with its name."""

    paraphrase: str
    label: str
    clips: int
    first: int
    by_name: int


def read_paraphrases(path: Path = PARAPHRASES) -> list[tuple[str, str]]:
    """Paraphrases with their labels."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [(row["paraphrase"], row["label"]) for row in csv.DictReader(stream)]


def display_names() -> dict[str, str]:
    """How each label of the data is written out."""
    entries = yaml.safe_load((PHRASES / "label_map.yaml").read_text(encoding="utf-8"))
    return {label: entry["display"] for label, entry in entries.items()}


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


def main() -> None:
    """Print the figures of a checkpoint."""
    parser = argparse.ArgumentParser(prog="python -m training.open_vocabulary", description=__doc__)
    parser.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    options = parser.parse_args()
    clips = read_clips(DATA / "validation.csv", DATA / "validation")
    print(render(measure(read_paraphrases(), display_names(), clips, ClapEmbedder(options.checkpoint))))


if __name__ == "__main__":
    main()
