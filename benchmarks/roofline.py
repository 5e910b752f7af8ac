"""What this processor could reach: the full-size tower's matrix products alone, against whole towers.

    python -m benchmarks.roofline     # a minute or two on one thread; needs transformers, as the tests do

A tower cannot be faster than its products, and they cannot be faster than the processor multiplies. Everything is
timed in turn, in process time (what one thread works, however busy the machine is), as the median over rounds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any
from unittest import mock

os.environ.update(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1")

import torch
from torch import Tensor

from benchmarks.checkpoints import FULL_SIZE, find_checkpoint
from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.prepared.onednn import Product

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CUBE = 512
"""Rows, columns and depth of a product that fits the cache: the processor's best case."""
Run = Callable[[], object]


@torch.inference_mode()
def main() -> None:
    """Print one line for each thing that was timed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkpoint = find_checkpoint(FULL_SIZE)
    features = torch.randn(1, 1, 1001, 64, generator=torch.Generator().manual_seed(0)) * 20 - 40
    runs: dict[str, Run] = {"tower, transformers fp32": reference(checkpoint, features)}
    operations: dict[str, int] = {}
    for name, dtype in PRECISIONS.items():
        tower = ClapAudioModelWithProjection.from_pretrained(checkpoint, dtype=dtype).prepare_for_inference()
        runs[f"tower, clapstream {name}"] = lambda tower=tower: tower(features)
        products = record_products(tower, features)
        runs[f"its products {name}"] = lambda products=products: [run() for run, _ in products]
        operations[f"its products {name}"] = sum(count for _, count in products)
        runs[f"cube of {CUBE} {name}"] = cube(dtype)
        operations[f"cube of {CUBE} {name}"] = 2 * CUBE**3
    times = measure(runs, options.rounds)
    slowest = median(times["tower, transformers fp32"])
    print(f"{'':<26}{'ms':>8}{'x':>7}{'GFLOP/s':>9}")
    for name, seconds in times.items():
        rate = f"{operations[name] / median(seconds) / 1e9:>9.0f}" if name in operations else ""
        times_faster = f"{slowest / median(seconds):>7.2f}" if "cube" not in name else " " * 7
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


def reference(checkpoint: Any, features: Tensor) -> Run:
    """The tower of transformers."""
    import transformers

    transformers.logging.set_verbosity_error()
    tower = transformers.ClapAudioModelWithProjection.from_pretrained(checkpoint).eval()
    return lambda: tower(input_features=features, is_longer=None)


def record_products(tower: ClapAudioModelWithProjection, features: Tensor) -> list[tuple[Run, int]]:
    """Every product of one forward, with its weights and inputs of its shape, and its floating-point operations."""
    recorded: list[tuple[Run, int]] = []
    apply = Product.apply

    def record(product: Product, inputs: Tensor, *, gelu: bool = False) -> Tensor:
        outputs = apply(product, inputs, gelu=gelu)
        again = torch.randn(inputs.shape, dtype=torch.float32).to(inputs.dtype)
        count = 2 * inputs.numel() * outputs.shape[-1]
        recorded.append((lambda: apply(product, again), count))
        return outputs

    with mock.patch.object(Product, "apply", record):
        tower(features)
    return recorded


def cube(dtype: torch.dtype) -> Run:
    """The product of two square matrices, the second one packed."""
    inputs, weight = (torch.randn(CUBE, CUBE).to(dtype) for _ in range(2))
    product = Product.prepare(weight, None)
    return lambda: product.apply(inputs)


if __name__ == "__main__":
    main()
