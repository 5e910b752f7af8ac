"""Runs the comparison: every peer in a process of its own, all in turn. `python -m benchmarks` starts this."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.checkpoints import FULL_SIZE, find_checkpoint
from benchmarks.environment import cache_directory
from benchmarks.measurements import Measured, Start, turns
from benchmarks.report import comparison_table, draw, hop_table, start_table
from benchmarks.settings import CPU_PEERS, GPU_PEERS, add_options
from benchmarks.sounds import window
from clapstream.clap.hub import BUNDLED

STARTS = ("transformers", "clapstream cold", "clapstream cached")
"""The first is what the others are compared with."""
START_ROUNDS = 3


def main() -> None:
    """Measure, print and write `comparison.{md,json,png}` to the output directory."""
    parser = argparse.ArgumentParser(description=__doc__)
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
        if not options.no_start:
            say(f"{name}, start to first score")
            starts += compare_starts(name, checkpoint)
    title = f"{machine()}; {options.threads} threads; load {load:.1f} before; {datetime.now(UTC):%Y-%m-%d}"
    text = (
        f"## {title}\n\n{comparison_table(measured)}\n### Features of one new hop of 2.5 s\n\n{hop_table(measured)}"
    )
    if starts:
        text += f"\n### Start to first score\n\n{start_table(starts)}"
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "comparison.md").write_text(text, encoding="utf-8")
    values = {"machine": title, "measured": list(map(asdict, measured)), "starts": list(map(asdict, starts))}
    (options.output / "comparison.json").write_text(json.dumps(values) + "\n", encoding="utf-8")
    draw(measured, options.output / "comparison.png", title)


def say(what: str) -> None:
    """Progress, apart from the results."""
    print(what, file=sys.stderr, flush=True)


def compare(
    name: str, checkpoint: Path, batch: int, peers: Sequence[str], rounds: int, threads: int
) -> list[Measured]:
    """All peers in turn, as often as there are rounds."""
    measured = {peer: Measured(peer, name, batch) for peer in peers}
    with contextlib.ExitStack() as stack:
        workers = {peer: stack.enter_context(Worker(peer, checkpoint, batch, threads)) for peer in peers}
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


class Worker:
    """A peer's process, ready once this is entered; it sleeps while it is not asked."""

    def __init__(self, peer: str, checkpoint: Path, batch: int, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", peer, str(checkpoint)]
        command += ["--batch", str(batch), "--threads", str(threads)]
        if peer.startswith(("onnxruntime", "openvino")):
            command += ["--exported", str(exported_model(checkpoint, batch, int8="int8" in peer))]
        # Threads that wait asleep: one peer's must not take the time of the next one's turn.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._peer = peer

    def __enter__(self) -> Worker:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, request: str) -> dict[str, Any]:
        """Let it do something and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._peer} ended with exit code {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def exported_model(checkpoint: Path, batch: int, *, int8: bool) -> Path:
    """The tower as an ONNX file, made at its first use; a process of its own makes it."""
    weights = checkpoint / "model.safetensors"
    stem = re.sub(r"\W+", "-", f"{checkpoint.name}-{weights.stat().st_mtime_ns}-batch-{batch}")
    exported = cache_directory() / "exported" / f"{stem}.onnx"
    command = [sys.executable, "-m", "benchmarks.export", str(checkpoint), "--batch", str(batch)]
    if not exported.is_file():
        subprocess.run([*command, str(exported)], check=True)
    if not int8:
        return exported
    quantised = exported.with_suffix(".int8.onnx")
    if not quantised.is_file():
        subprocess.run([*command, str(quantised), "--int8", str(exported)], check=True)
    return quantised


def compare_starts(name: str, checkpoint: Path) -> list[Start]:
    """Whole processes, from start to first score; the files are in the page cache for all."""
    starts = {what: Start(what, name) for what in STARTS}
    with tempfile.TemporaryDirectory() as cache:
        sound = str(Path(cache, "window.npy"))
        np.save(sound, window(0))
        for _ in start_rounds(checkpoint, cache, sound):
            for what in STARTS:
                directory = tempfile.mkdtemp(dir=cache) if what.endswith("cold") else cache
                command = [sys.executable, "-m", "benchmarks.first_score", what.split()[0], str(checkpoint)]
                started = time.perf_counter()
                with subprocess.Popen([*command, directory, sound], stdout=subprocess.PIPE, text=True) as process:
                    assert process.stdout is not None
                    peak_mb = process.stdout.readline()
                    starts[what].seconds.append(time.perf_counter() - started)
                if process.returncode != 0:
                    raise SystemExit(f"{what}: first score failed with exit code {process.returncode}")
                starts[what].peak_mb = max(starts[what].peak_mb, float(peak_mb))
    return list(starts.values())


def start_rounds(checkpoint: Path, cache: str, sound: str) -> Iterator[int]:
    """Fill the cache of label embeddings once, then count the rounds."""
    command = [sys.executable, "-m", "benchmarks.first_score", "clapstream", str(checkpoint), cache, sound]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    yield from range(START_ROUNDS)


def machine() -> str:
    """What this ran on."""
    models = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    parts = [
        f"{models[0] if models else platform.processor()} ({os.cpu_count()} cores)",
        f"torch {torch.__version__}",
    ]
    if torch.cuda.is_available():
        parts.insert(1, torch.cuda.get_device_name())
    return ", ".join(parts)


if __name__ == "__main__":
    main()
