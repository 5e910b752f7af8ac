"""What a comparison can be asked for; imports nothing heavy, since two interpreters read it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

CPU_PEERS = (
    "transformers fp32",
    "onnxruntime fp32",
    "onnxruntime int8",
    "openvino fp32",
    "openvino bf16",
    "clapstream fp32",
    "clapstream bf16",
)
GPU_PEERS = (
    "transformers fp32 cuda",
    "clapstream fp32 cuda",
    "clapstream bf16 cuda",
    "clapstream fp16 cuda",
    "clapstream bf16 cuda graph",
)
REFERENCE = "transformers fp32"
"""What every ratio and cosine is against."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both `python -m benchmarks` and `benchmarks.comparison` take."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=None,
        metavar="NAME",
        help="full-size (random weights), bundled or a directory; may be repeated (default: the first two)",
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="windows at once (64 takes long)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each peer has its turn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each peer")
    parser.add_argument(
        "--peers", nargs="+", default=None, metavar="PEER", help="only these, such as 'openvino bf16'"
    )
    parser.add_argument(
        "--start-rounds", type=int, default=3, help="how often to time the start to the first score"
    )
    parser.add_argument("--no-start", dest="start_rounds", action="store_const", const=0, help="do not time it")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="where table and picture go"
    )
