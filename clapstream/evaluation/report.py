"""How an evaluation is shown: a table for the terminal, a picture of the confusions, a progress bar meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clapstream.evaluation.embedder import OnProgress
from clapstream.evaluation.zero_shot import Evaluation

_INCHES_PER_LABEL = 0.28
_SMALLEST_INCHES = 6.0
_DOTS_PER_INCH = 110


class PlotError(Exception):
    """The picture cannot be made: matplotlib is missing or the file cannot be written."""


def render(evaluation: Evaluation) -> str:
    """The figures as text: the whole first, then folds if there are any, then a line for each label."""
    lines = [
        f"checkpoint  {evaluation.checkpoint}",
        f"prompt      {evaluation.template}",
        f"clips       {evaluation.clips} in {len(evaluation.labels)} labels "
        f"(guessing gives {1 / len(evaluation.labels):.1%})",
        f"top-1       {evaluation.top1:.1%}",
        f"mAP         {evaluation.mean_average_precision:.1%}",
    ]
    lines += [f"fold {fold.fold:<6} {fold.top1:.1%} of {fold.clips} clips" for fold in evaluation.folds]
    if evaluation.folds:
        accuracies = np.array([fold.top1 for fold in evaluation.folds])
        lines.append(f"over folds  {accuracies.mean():.1%} ± {accuracies.std():.1%}")
    width = max(len("label"), *(len(figures.label) for figures in evaluation.labels))
    lines += ["", f"{'label':<{width}}  clips  top-1     AP  misses mostly taken for"]
    lines += [
        f"{figures.label:<{width}}  {figures.clips:>5}  {figures.recall:>5.0%}  {figures.average_precision:>5.0%}"
        f"  {figures.taken_for}".rstrip()
        for figures in evaluation.labels
    ]
    return "\n".join(lines) + "\n"


def check_plot(path: Path) -> None:
    """Find out before the long run whether the picture can be made; raises PlotError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise PlotError("the picture needs matplotlib: pip install 'clapstream[plot]'") from error
    if not path.parent.is_dir():
        raise PlotError(f"{path}: the folder {path.parent} does not exist")


def plot_confusion(evaluation: Evaluation, path: Path) -> None:
    """Write a PNG: true labels as rows, what they were taken for as columns, each row coloured by its shares.

    Raises PlotError.
    """
    check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [figures.label.replace("_", " ") for figures in evaluation.labels]
    shares = evaluation.confusion / evaluation.confusion.sum(axis=1, keepdims=True)
    side = max(_SMALLEST_INCHES, _INCHES_PER_LABEL * len(names) + 2.5)
    figure = Figure(figsize=(side, side), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("closest label")
    axes.set_ylabel("true label")
    axes.set_title(f"{evaluation.checkpoint}: top-1 {evaluation.top1:.1%} of {evaluation.clips} clips")
    for row, column in zip(*np.nonzero(evaluation.confusion), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        count = str(evaluation.confusion[row, column])
        axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true label's clips")
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise PlotError(f"{path}: cannot be written: {error}") from error


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar on stderr, drawn only where that is a terminal; the value is `evaluate`'s `progress`."""
    console = Console(stderr=True)
    columns = (TextColumn("listening"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("listening", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
