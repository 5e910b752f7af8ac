"""`python -m benchmarks` on a tiny checkpoint: every table is there, complete and plausible; times are not judged.

Left out: making the environment of the peers, which installs packages, and OpenVINO, which is only there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PEERS = ("transformers fp32", "onnxruntime fp32", "onnxruntime int8", "clapstream bf16")
LEAST_COSINES = (0.99999, 0.9999, 0.9, 0.99)
GPU_PEERS = ("transformers fp32 cuda", "clapstream fp32 cuda", "clapstream bf16 cuda graph")


def compare(run_benchmark: Callable[..., str], checkpoint: Path, output: Path, *arguments: object) -> str:
    options = ["--python", sys.executable, "--checkpoint", checkpoint, "--output", output, "--threads", 1]
    return run_benchmark("benchmarks", *options, "--rounds", 2, *arguments)


@pytest.fixture(scope="module")
def output(
    run_benchmark: Callable[..., str], tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    output = tmp_path_factory.mktemp("results")
    options = ["--batches", 1, "--start-rounds", 1, "--peers", *PEERS]
    printed = compare(run_benchmark, tiny_checkpoint, output, *options)
    assert printed.rstrip() == (output / "comparison.md").read_text(encoding="utf-8").rstrip()
    return output


def rows(output: Path, heading: str) -> list[dict[str, str]]:
    """The rows of the first table below a heading, by the names of the columns."""
    text = (output / "comparison.md").read_text(encoding="utf-8").partition(f"### {heading}")[2].partition("#")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def test_every_peer_has_a_row_with_the_embedding_of_transformers(output: Path, tiny_checkpoint: Path) -> None:
    table = rows(output, str(tiny_checkpoint))
    assert [row["peer"] for row in table] == list(PEERS)
    for row, least in zip(table, LEAST_COSINES, strict=True):
        assert row["batch"] == "1"
        assert least <= float(row["cosine"]) <= 1.00001
        assert float(row["total"]) == pytest.approx(float(row["features"]) + float(row["tower"]), rel=0.5, abs=0.2)
        assert all(float(row[name]) > 0 for name in ("features", "tower", "core", "tower x", "total x", "core x"))
        assert 50 < float(row["MB"]) < 4000
    assert [table[0][name] for name in ("tower x", "total x", "core x")] == ["1.00"] * 3


def test_every_peer_has_a_row_for_a_hop(output: Path) -> None:
    table = rows(output, "Features of one new hop")
    assert [row["peer"] for row in table] == list(PEERS)
    assert all(float(row["ms"]) > 0 and float(row["times faster"]) > 0 for row in table)


def test_every_kind_of_start_has_a_row(output: Path) -> None:
    table = rows(output, "Start to first score")
    assert [row["what"] for row in table] == ["transformers", "clapstream cold", "clapstream cached"]
    assert all(float(row["s"]) > 0.1 and float(row["peak MB"]) > 100 for row in table)
    assert table[0]["times faster"] == "1.0"


def test_the_title_names_the_machine(output: Path) -> None:
    title = (output / "comparison.md").read_text(encoding="utf-8").splitlines()[0]
    assert "cores" in title and f"torch {torch.__version__}" in title and "1 threads" in title


def test_raw_figures_and_picture_are_written(output: Path) -> None:
    raw = json.loads((output / "comparison.json").read_text(encoding="utf-8"))
    assert [row["peer"] for row in raw["measured"]] == list(PEERS)
    assert all(len(row["tower_ms"]) == len(row["hop_ms"]) == 2 for row in raw["measured"])
    assert [len(row["seconds"]) for row in raw["starts"]] == [1, 1, 1]
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="the rows of a GPU need a CUDA device")
def test_a_gpu_has_rows_of_its_own(
    run_benchmark: Callable[..., str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    compare(run_benchmark, tiny_checkpoint, tmp_path, "--batches", 1, "--no-start", "--peers", *GPU_PEERS)
    table = rows(tmp_path, str(tiny_checkpoint))
    assert [row["peer"] for row in table] == list(GPU_PEERS)
    assert all(float(row["cosine"]) > 0.99 for row in table)
