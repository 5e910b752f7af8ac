"""`clapstream eval`: zero-shot accuracy on a list of labelled files."""

from __future__ import annotations

import argparse

from clapstream.commands.reporting import FAILURE, OK, USAGE, complain
from clapstream.daemon.build import EXPECTED
from clapstream.evaluation.clips import ClipListError
from clapstream.evaluation.report import PlotError, check_plot, plot_confusion, progress_bar, render
from clapstream.evaluation.zero_shot import DEFAULT_TEMPLATE, TemplateError, evaluate


def run(options: argparse.Namespace) -> int:
    """Print the figures, and draw the confusions if asked to."""
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
        print(render(evaluation), end="")
        if options.plot is not None:
            plot_confusion(evaluation, options.plot)
    except (ClipListError, TemplateError) as error:
        complain(error)
        return USAGE
    except (PlotError, *EXPECTED) as error:
        complain(error)
        return FAILURE
    return OK
