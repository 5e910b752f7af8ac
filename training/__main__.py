"""`python -m training STEP`: see README.md in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.paths import BUNDLED


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    bank = steps.add_parser("bank", help="compose windows and let the teacher tag them")
    bank.add_argument("--shards", type=int, default=160)
    bank.add_argument("--workers", type=int, default=2)
    bank.add_argument("--held-out", action="store_true")
    text = steps.add_parser("text", help="distil the text tower")
    text.add_argument("--minutes", type=float, default=12)
    audio = steps.add_parser("audio", help="train the audio tower and both projections")
    audio.add_argument("--minutes", type=float, default=70)
    align = steps.add_parser("align", help="fit the text tower to the space that the audio tower learned")
    align.add_argument("--minutes", type=float, default=8)
    export = steps.add_parser("export", help="write the checkpoint directory")
    export.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    evaluate = steps.add_parser("evaluate", help="print figures of a checkpoint directory")
    evaluate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    options = parser.parse_args()
    if options.step == "bank":
        from training import bank as step

        step.build(options.shards, options.workers, held_out_only=options.held_out)
    elif options.step == "text":
        from training import text_tower as step

        step.distil(options.minutes)
    elif options.step == "audio":
        from training import audio_tower as step

        step.train(options.minutes)
    elif options.step == "align":
        from training import align as step

        step.align(options.minutes)
    elif options.step == "export":
        from training import export as step

        step.export(options.folder)
    elif options.step == "evaluate":
        from training import evaluate as step

        print(step.report(options.folder))


if __name__ == "__main__":
    main()
