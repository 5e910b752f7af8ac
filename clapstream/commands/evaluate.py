"""`clapstream eval`: zero-shot accuracy on a list of labelled files, as a table, a picture or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clapstream.commands.reporting import FAILURE, OK, USAGE, print_error
from clapstream.daemon.build import EXPECTED
from clapstream.evaluation.clips import ClipListError
from clapstream.evaluation.embedder import OnProgress
from clapstream.evaluation.zero_shot import DEFAULT_TEMPLATE, Evaluation, TemplateError, evaluate

_INCHES_PER_LABEL = 0.28
_SMALLEST_INCHES = 6.0
_DOTS_PER_INCH = 110


class PlotError(Exception):
    """The picture cannot be drawn: matplotlib is missing or the file cannot be written."""


def run(options: argparse.Namespace) -> int:
    """Print the figures, and draw the confusion matrix if asked to."""
    try:
        if options.plot is not None:
            check_plot(options.plot)
        with progress_bar() as progress:
            evaluation = evaluate(
                options.csv,
                options.checkpoint,
                template=options.template or DEFAULT_TEMPLATE,
                device=options.device,
                audio_folder=options.audio_folder,
                progress=progress,
            )
        print(as_json(evaluation) if options.json else render(evaluation))
        if options.plot is not None:
            plot_confusion(evaluation, options.plot)
    except (ClipListError, TemplateError) as error:
        print_error(error)
        return USAGE
    except (PlotError, *EXPECTED) as error:
        print_error(error)
        return FAILURE
    return OK


def render(evaluation: Evaluation) -> str:
    """The figures as text: of all clips, of each fold if there are any, and a line for each label."""
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
    lines += ["", f"{'label':<{width}}  clips  top-1     AP  most misses taken for"]
    lines += [
        f"{figures.label:<{width}}  {figures.clips:>5}  {figures.recall:>5.0%}  {figures.average_precision:>5.0%}"
        f"  {figures.taken_for}".rstrip()
        for figures in evaluation.labels
    ]
    return "\n".join(lines)


def as_json(evaluation: Evaluation) -> str:
    """The figures as one JSON object, with a list of folds and one of labels; shares are 0..1."""
    figures = asdict(evaluation)
    del figures["confusion"]
    return json.dumps(figures, allow_nan=False)


def check_plot(path: Path) -> None:
    """Raise PlotError, before the long run, if the picture could not be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise PlotError("--plot needs matplotlib: pip install 'clapstream[plot]'") from error
    if not path.parent.is_dir():
        raise PlotError(f"{path}: the folder {path.parent} does not exist")


def plot_confusion(evaluation: Evaluation, path: Path) -> None:
    """Write the confusion matrix as a PNG: true labels are rows, coloured by the shares of their clips.

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
        raise PlotError(f"{path}: cannot be written: {error.strerror or error}") from error


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A progress bar on stderr if that is a terminal; the value is `evaluate`'s `progress`."""
    console = Console(stderr=True)
    columns = (TextColumn("embedding clips"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("embedding clips", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
