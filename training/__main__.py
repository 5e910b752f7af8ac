"""`python -m training STEP`: see README.md in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.paths import BUNDLED
from training.rounds import ROUNDS, every_round


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    bank = steps.add_parser("bank", help="compose windows and let the teacher tag them")
    bank.add_argument("--shards", type=int, default=ROUNDS[0].shards)
    bank.add_argument("--plain-shards", type=int, default=56)
    bank.add_argument("--first", type=int, default=0, help="number of the first shard: others hold other windows")
    bank.add_argument("--workers", type=int, default=2)
    text = steps.add_parser("text", help="distil the text tower")
    text.add_argument("--minutes", type=float, default=10)
    text.add_argument("--texts", type=int, default=180_000, help="that the sentence encoder is asked about")
    taken = steps.add_parser("take-up", help="go on from a checkpoint: audio and align then start where it is")
    taken.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    audio = steps.add_parser("audio", help="train the audio tower and its projection")
    audio.add_argument("--minutes", type=float, default=104)
    align = steps.add_parser("align", help="fit the text tower to the space that the audio tower learns")
    align.add_argument("--minutes", type=float, default=12)
    export = steps.add_parser("export", help="write the checkpoint directory")
    export.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    export.add_argument(
        "--kept", type=float, default=ROUNDS[-1].kept, help="share of what was taken up, if anything was"
    )
    calibrate = steps.add_parser("calibrate", help="fit the scores' slope and offset, write calibration.json")
    calibrate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    calibrate.add_argument("--minutes", type=float, default=480, help="of backgrounds to listen to")
    card = steps.add_parser("card", help="write the model card with its figures")
    card.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    everything = steps.add_parser("all", help=f"every step in order, in {len(ROUNDS)} rounds")
    everything.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    everything.add_argument(
        "--share", type=float, default=1.0, help="of every budget: 0.01 shows that all steps run"
    )
    evaluate = steps.add_parser("evaluate", help="print figures of a checkpoint directory")
    evaluate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    options = parser.parse_args()
    chosen = vars(options)
    if options.step != "all":
        run(**chosen)
        return

    def step(name: str, **differing: Any) -> None:
        print(f"--- {name}", flush=True)
        run(**budgeted(vars(parser.parse_args([name])) | differing, options.share))

    every_round(step, options.folder)


def budgeted(options: dict[str, Any], share: float) -> dict[str, Any]:
    """A step's options with `share` of its minutes, shards and texts."""
    least = {"shards": 2, "plain_shards": 2, "texts": 6000}
    counts = {key: max(round(value * share), least[key]) for key, value in options.items() if key in least}
    minutes = {key: value * share for key, value in options.items() if key == "minutes"}
    return options | counts | minutes


def run(step: str, **options: Any) -> None:
    """Run one step with its options. Each imports its own module: no step needs the packages of all."""
    if step == "bank":
        from training.bank import build

        build(**options)
    elif step == "text":
        from training.text_tower import distil

        distil(**options)
    elif step == "take-up":
        from training.take_up import take_up

        take_up(**options)
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
