"""`python -m training STEP`: see README.md in this folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.paths import BUNDLED
from training.rounds import ROUNDS, every_round


def main(arguments: list[str] | None = None) -> None:
    """Run one step."""
    parser = make_parser()
    options = vars(parser.parse_args(arguments))
    if options["step"] != "all":
        run(**options)
        return
    share = options["share"]

    def step(name: str, **differing: Any) -> None:
        print(f"--- {name}", flush=True)
        run(**budgeted(vars(parser.parse_args([name])) | differing, share))

    every_round(step, options["folder"])


def make_parser() -> argparse.ArgumentParser:
    """Every step with its options; an option has the name of the parameter of the step's function."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    add_training_steps(steps)
    add_checkpoint_steps(steps)
    add_measuring_steps(steps)
    return parser


def add_training_steps(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What trains the towers."""
    bank = steps.add_parser("bank", help="compose windows and tag them with the teacher")
    bank.add_argument("--shards", type=int, default=ROUNDS[0].shards, help="of composed windows")
    bank.add_argument("--plain-shards", type=int, default=56, help="of single recordings")
    bank.add_argument("--first", type=int, default=0, help="number of the first shard; others have other windows")
    text = steps.add_parser("text", help="distil the text tower")
    text.add_argument("--minutes", type=float, default=10)
    text.add_argument("--texts", type=int, default=180_000, help="to distil on")
    resume = steps.add_parser("resume", help="continue from a checkpoint instead of from nothing")
    resume.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    audio = steps.add_parser("audio", help="train the audio tower and its projection")
    audio.add_argument("--minutes", type=float, default=104)
    align = steps.add_parser("align", help="fit the text tower to the space that the audio tower learns")
    align.add_argument("--minutes", type=float, default=12)
    for parser in (bank, resume, audio):
        parser.add_argument("--workers", dest="worker_count", type=int, default=2, help="processes (default: 2)")


def add_checkpoint_steps(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What makes a checkpoint directory of them."""
    export = steps.add_parser("export", help="write the checkpoint directory")
    export.add_argument(
        "--kept",
        type=float,
        default=ROUNDS[-1].kept,
        help="share of the weights that training resumed from, if any",
    )
    calibrate = steps.add_parser("calibrate", help="fit the Platt scaling of the scores, write calibration.json")
    calibrate.add_argument("--minutes", type=float, default=480, help="of backgrounds to listen to")
    card = steps.add_parser("card", help="write the model card with its figures")
    everything = steps.add_parser("all", help=f"every step in order, in {len(ROUNDS)} rounds")
    everything.add_argument(
        "--share", type=float, default=1.0, help="of every budget: 0.01 shows that all steps run"
    )
    for parser in (export, calibrate, card, everything):
        parser.add_argument("folder", type=Path, nargs="?", default=BUNDLED)


def add_measuring_steps(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What measures a checkpoint or makes sounds to measure with."""
    evaluate = steps.add_parser("evaluate", help="print zero-shot figures of a checkpoint directory, and YAMNet's")
    evaluate.add_argument("folder", type=Path, nargs="?", default=BUNDLED)
    scenes = steps.add_parser("scenes", help="print figures of the events detected in scenes and in backgrounds")
    scenes.add_argument("-c", "--config", type=Path, metavar="FILE", help="clapstream.yaml (default: the packaged)")
    scenes.add_argument("--events-from", choices=["validation", "open"], default="validation", help="what folder")
    scenes.add_argument("--scenes", type=int, default=30, help="how many (default: 30)")
    scenes.add_argument("--minutes", type=int, default=60, help="of backgrounds alone (default: 60)")
    scenes.add_argument(
        "--first",
        type=int,
        metavar="NUMBER",
        help="of those minutes, with only the kinds of background that calibration uses (default: all kinds)",
    )
    opened = steps.add_parser("open-vocabulary", help="print how well texts that training never saw are understood")
    for parser in (scenes, opened):
        parser.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    write = steps.add_parser("write-scenes", help="write the scenes as sound files, to listen to")
    write.add_argument("folder", type=Path)
    write.add_argument("--scenes", type=int, default=30, help="how many (default: 30)")
    demo = steps.add_parser("demo-recording", help="make the recording that `clapstream demo` listens to")
    demo.add_argument("folder", type=Path, help="of sounds, with a CSV of the same name beside it")
    demo.add_argument("target", type=Path, help="folder to write to")


def budgeted(options: dict[str, Any], share: float) -> dict[str, Any]:
    """A step's options with `share` of its minutes, shards and texts."""
    least = {"shards": 2, "plain_shards": 2, "texts": 6000}
    counts = {key: max(round(value * share), least[key]) for key, value in options.items() if key in least}
    minutes = {key: value * share for key, value in options.items() if key == "minutes"}
    return options | counts | minutes


def run(step: str, **options: Any) -> None:
    """Run one step with its options. Each imports its own module: no step needs the packages of all."""
    match step:
        case "bank":
            from training.bank import build

            build(**options)
        case "text":
            from training.text_tower import distil

            distil(**options)
        case "resume":
            from training.resume import resume

            resume(**options)
        case "audio":
            from training.audio_tower import train

            train(**options)
        case "align":
            from training.align import align

            align(**options)
        case "export":
            from training.export import export

            export(**options)
        case "calibrate":
            from training.calibrate import calibrate

            calibrate(**options)
        case "card":
            from training.card import write_card

            write_card(**options)
        case _:
            measure(step, **options)


def measure(step: str, **options: Any) -> None:
    """Run one of the steps that measure a checkpoint or make sounds to measure with."""
    match step:
        case "evaluate":
            from training.evaluate import report as report_zero_shot

            print(report_zero_shot(**options))
        case "scenes":
            from training.scene_figures import report as report_scenes

            print(report_scenes(**options))
        case "open-vocabulary":
            from training.open_vocabulary import report as report_open_vocabulary

            print(report_open_vocabulary(**options))
        case "write-scenes":
            from training.scenes import write_scenes

            write_scenes(**options)
        case "demo-recording":
            from training.demo_recording import make

            make(**options)
        case _:
            raise ValueError(f"unknown step {step!r}")


if __name__ == "__main__":
    main()
