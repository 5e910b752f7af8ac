"""`python -m training STEP`: see README.md in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.paths import BUNDLED


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    bank = steps.add_parser("bank", help="compose windows and let the teacher tag them")
    bank.add_argument("--shards", type=int, default=60)
    bank.add_argument("--plain-shards", type=int, default=56)
    bank.add_argument("--workers", type=int, default=2)
    text = steps.add_parser("text", help="distil the text tower")
    text.add_argument("--minutes", type=float, default=40)
    audio = steps.add_parser("audio", help="train the audio tower and its projection")
    audio.add_argument("--minutes", type=float, default=120)
    align = steps.add_parser("align", help="fit the text tower to the space that the audio tower learns")
    align.add_argument("--minutes", type=float, default=8)
    export = steps.add_parser("export", help="write the checkpoint directory")
    export.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    calibrate = steps.add_parser("calibrate", help="fit the scores' slope and offset, write calibration.json")
    calibrate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    card = steps.add_parser("card", help="write the model card with its figures")
    card.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    everything = steps.add_parser("all", help="every step in order")
    everything.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    evaluate = steps.add_parser("evaluate", help="print figures of a checkpoint directory")
    evaluate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    options = parser.parse_args()
    chosen = vars(options)
    if options.step != "all":
        run(**chosen)
        return
    for name in ("bank", "text", "audio", "align", "export", "calibrate", "card"):
        defaults = vars(parser.parse_args([name]))
        run(**defaults | ({"folder": options.folder} if "folder" in defaults else {}))


def run(step: str, **options: Any) -> None:
    """Run one step with its options. Each imports its own module: no step needs the packages of all."""
    if step == "bank":
        from training.bank import build

        build(options["shards"], options["plain_shards"], options["workers"])
    elif step == "text":
        from training.text_tower import distil

        distil(**options)
    elif step == "audio":
        from training.audio_tower import train

        train(**options)
    elif step == "align":
        from training.align import align

        align(**options)
    elif step == "export":
        from training.export import export

        export(**options)
    elif step == "calibrate":
        from training.calibrate import calibrate

        calibrate(**options)
    elif step == "card":
        from training.card import write_card

        write_card(**options)
    elif step == "evaluate":
        from training.evaluate import report

        print(report(**options))


if __name__ == "__main__":
    main()
