"""`python -m training STEP`: see README.md in this folder."""

from __future__ import annotations

import argparse


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    bank = steps.add_parser("bank", help="compose windows and let the teacher tag them")
    bank.add_argument("--shards", type=int, default=160)
    bank.add_argument("--workers", type=int, default=2)
    bank.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    if options.step == "bank":
        from training import bank as step

        step.build(options.shards, options.workers, held_out_only=options.held_out)


if __name__ == "__main__":
    main()
