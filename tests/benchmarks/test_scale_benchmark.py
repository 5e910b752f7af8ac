"""`python -m benchmarks.scale` on a tiny checkpoint, for seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_each_number_of_microphones_has_a_row(
    run_benchmark: Callable[..., str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.yaml").write_text("labels: [dog barking, doorbell]\nbackground: [a quiet room]\n")
    config = tmp_path / "clapstream.yaml"
    config.write_text(
        f"model: {{checkpoint: {tiny_checkpoint}, device: cpu}}\nwindow: {{seconds: 1, hop_seconds: 0.5}}\n"
        f"labels: labels.yaml\ncache_directory: {tmp_path / 'cache'}\n"
    )
    printed = run_benchmark("benchmarks.scale", "-c", config, "--steps", 1, 2, "--seconds", 2)
    processor, header, *lines = printed.splitlines()
    assert "cores" in processor
    assert header.split()[:3] == ["microphones", "windows/s", "skipped"]
    rows = [[float(cell) for cell in line.split()] for line in lines]
    assert [row[0] for row in rows] == [1, 2][: len(rows)]  # it ends early where a busy machine falls behind
    for microphones, windows_per_second, skipped, cores, inference_ms, _late_ms in rows:
        assert windows_per_second + skipped / 2 <= 2.0 * microphones * 1.6  # a hop of 0.5 s, and a late one
        assert 0 < cores < 64
        assert inference_ms > 0
