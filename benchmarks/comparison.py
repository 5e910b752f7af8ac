"""Runs the comparison: every peer in a process of its own, all in turn. `python -m benchmarks` starts this."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.checkpoints import FULL_SIZE, find_checkpoint
from benchmarks.machine import describe_processor
from benchmarks.measurements import Measured, Start, turns
from benchmarks.peer_process import PeerProcess
from benchmarks.report import comparison_table, draw, hop_table, start_table
from benchmarks.settings import CPU_PEERS, GPU_PEERS, add_options
from benchmarks.starts import compare_starts
from clapstream.clap.hub import BUNDLED


def main() -> None:
    """Measure, print and write `comparison.{md,json,png}` to the output directory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    add_options(parser)
    options = parser.parse_args()
    peers = options.peers or [*CPU_PEERS, *(GPU_PEERS if torch.cuda.is_available() else ())]
    measured: list[Measured] = []
    starts: list[Start] = []
    load = os.getloadavg()[0]
    for name in options.checkpoint or [FULL_SIZE, BUNDLED]:
        checkpoint = find_checkpoint(name)
        for batch in options.batches:
            say(f"{name}, batch {batch}")
            measured += compare(name, checkpoint, batch, peers, options.rounds, options.threads)
        if options.start_rounds:
            say(f"{name}, start to first score")
            starts += compare_starts(name, checkpoint, options.start_rounds)
    title = f"{machine()}; {options.threads} threads; load {load:.1f} before; {datetime.now(UTC):%Y-%m-%d}"
    write_results(title, measured, starts, options.output)


def write_results(title: str, measured: Sequence[Measured], starts: Sequence[Start], folder: Path) -> None:
    """Print the tables, and write them, the raw figures and a picture."""
    text = f"## {title}\n\n{comparison_table(measured)}"
    if any(row.hop_ms for row in measured):
        text += f"\n### Features of one new hop of 2.5 s\n\n{hop_table(measured)}"
    if starts:
        text += f"\n### Start to first score\n\n{start_table(starts)}"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.md").write_text(text, encoding="utf-8")
    values = {"machine": title, "measured": list(map(asdict, measured)), "starts": list(map(asdict, starts))}
    (folder / "comparison.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
    draw(measured, folder / "comparison.png", title)


def say(what: str) -> None:
    """Progress, apart from the results."""
    print(what, file=sys.stderr, flush=True)


def compare(
    name: str, checkpoint: Path, batch: int, peers: Sequence[str], rounds: int, threads: int
) -> list[Measured]:
    """All peers in turn, as often as there are rounds."""
    measured = {peer: Measured(peer, name, batch) for peer in peers}
    with contextlib.ExitStack() as stack:
        workers = {peer: stack.enter_context(PeerProcess(peer, checkpoint, batch, threads)) for peer in peers}
        for order in turns(peers, rounds):
            for peer in order:
                answer = workers[peer].ask("time")
                measured[peer].features_ms.append(answer["features_ms"])
                measured[peer].tower_ms.append(answer["tower_ms"])
                measured[peer].core_ms.append(answer["core_ms"])
            for peer in order if batch == 1 else ():
                measured[peer].hop_ms.append(workers[peer].ask("hop")["hop_ms"])
        for peer, worker in workers.items():
            result = worker.ask("result")
            measured[peer].embedding, measured[peer].peak_mb = result["embedding"], result["peak_mb"]
    return list(measured.values())


def machine() -> str:
    """What this ran on."""
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([describe_processor(), *gpu, f"torch {torch.__version__}"])


if __name__ == "__main__":
    main()
