"""What this processor could reach: the audio tower's matrix products alone, against whole towers.

    python -m benchmarks.roofline     # a minute or two on one thread; needs transformers, as the tests do

A tower cannot be faster than its products, and they cannot be faster than the processor multiplies. Everything is
timed in turn, in process time (the work of one thread, however busy the machine is), as the median over rounds.
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.update(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")

import torch
from torch import Tensor

from benchmarks.checkpoints import FULL_SIZE, find_checkpoint
from benchmarks.machine import describe_processor
from benchmarks.sounds import window
from clapstream.clap import ClapAudioModelWithProjection, ClapFeatureExtractor
from clapstream.clap.prepared.onednn import Product

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SQUARE = 512
"""Rows, columns and depth of a product that fits the cache: the processor's best case."""
REFERENCE = "tower, transformers fp32"
Run = Callable[[], object]
Operations = int
"""Floating-point operations."""


@torch.inference_mode()
def main() -> None:
    """Print one line for each thing that was timed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument(
        "--checkpoint", default=FULL_SIZE, help="full-size (random weights), bundled or a directory"
    )
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkpoint = find_checkpoint(options.checkpoint)
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
    features = extractor(window(0), sampling_rate=48_000, return_tensors="pt")["input_features"]
    runs: dict[str, Run] = {REFERENCE: reference_tower(checkpoint, features)}
    operations: dict[str, Operations] = {}
    for precision, dtype in PRECISIONS.items():
        tower = ClapAudioModelWithProjection.from_pretrained(checkpoint, dtype=dtype)
        products = find_products(tower, features)
        runs[f"tower, clapstream {precision}"] = functools.partial(tower.prepare_for_inference(), features)
        runs[f"its products {precision}"] = functools.partial(run_all, [run for run, _ in products])
        operations[f"its products {precision}"] = sum(count for _, count in products)
        square = torch.randn(SQUARE, SQUARE).to(dtype)
        name = f"{SQUARE} x {SQUARE} x {SQUARE} {precision}"
        runs[name], operations[name] = product(square, square)
    print(describe_processor())
    print_table(measure(runs, options.rounds), operations)


def print_table(times: dict[str, list[float]], operations: dict[str, Operations]) -> None:
    """Milliseconds, how many times faster than transformers, and the rate of what only multiplies."""
    slowest = median(times[REFERENCE])
    print(f"{'':<26}{'ms':>8}{'x':>7}{'GFLOP/s':>9}")
    for name, seconds in times.items():
        rate = f"{operations[name] / median(seconds) / 1e9:>9.0f}" if name in operations else ""
        times_faster = f"{slowest / median(seconds):>7.2f}" if " x " not in name else " " * 7
        print(f"{name:<26}{median(seconds) * 1e3:>8.1f}{times_faster}{rate}")


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of process time of each run, the best of two for each round; after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            taken = min(process_seconds(run) for _ in range(2))
            if turn:
                times[name].append(taken)
    return times


def process_seconds(run: Run) -> float:
    """How long this process works on it."""
    started = time.process_time()
    run()
    return time.process_time() - started


def reference_tower(checkpoint: Path, features: Tensor) -> Run:
    """The tower of transformers."""
    import transformers

    transformers.logging.set_verbosity_error()
    tower = transformers.ClapAudioModelWithProjection.from_pretrained(checkpoint).eval()
    return functools.partial(tower, input_features=features, is_longer=None)


def find_products(tower: ClapAudioModelWithProjection, features: Tensor) -> list[tuple[Run, Operations]]:
    """The matrix products of one forward: layers that read the same input (query, key, value) make one."""
    calls: list[tuple[Tensor, list[torch.nn.Linear]]] = []

    def record(layer: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, torch.nn.Linear)
        if calls and calls[-1][0] is inputs[0]:
            calls[-1][1].append(layer)
        else:
            calls.append((inputs[0], [layer]))

    layers = [layer for layer in tower.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    tower(features)
    for hook in hooks:
        hook.remove()
    return [product(torch.cat([layer.weight for layer in called]), inputs) for inputs, called in calls]


def product(weight: Tensor, inputs: Tensor) -> tuple[Run, Operations]:
    """The product of inputs `(..., inputs)` and a packed weight `(outputs, inputs)`."""
    packed = Product.prepare(weight, None)
    return functools.partial(packed.apply, inputs), 2 * inputs.numel() * weight.shape[0]


def run_all(runs: list[Run]) -> None:
    """Run one after the other."""
    for run in runs:
        run()


if __name__ == "__main__":
    main()
