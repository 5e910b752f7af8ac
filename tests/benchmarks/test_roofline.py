"""`python -m benchmarks.roofline` on a tiny checkpoint, and what it counts. It measures the CPU only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")


@pytest.mark.slow
def test_towers_and_their_products_have_rows(run_benchmark: Callable[..., str], tiny_checkpoint: Path) -> None:
    printed = run_benchmark("benchmarks.roofline", "--checkpoint", tiny_checkpoint, "--rounds", 1)
    processor, _header, *lines = printed.splitlines()
    assert "cores" in processor
    names = [line[:26].strip() for line in lines]
    assert names == [
        "tower, transformers fp32",
        "tower, clapstream fp32",
        "its products fp32",
        "512 x 512 x 512 fp32",
        "tower, clapstream bf16",
        "its products bf16",
        "512 x 512 x 512 bf16",
    ]
    cells = {name: line[26:].split() for name, line in zip(names, lines, strict=True)}
    assert all(float(cell) >= 0 for row in cells.values() for cell in row)
    assert cells["tower, transformers fp32"][1:] == ["1.00"]
    assert all(len(cells[f"its products {precision}"]) == 3 for precision in ("fp32", "bf16"))
