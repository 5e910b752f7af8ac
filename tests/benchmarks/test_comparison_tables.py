"""The arithmetic and the tables of the comparison, on given measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.comparison import write_results
from benchmarks.measurements import Measured, Start, reference_of, times_faster, turns
from benchmarks.report import comparison_table, draw, hop_table, start_table

SLOW = Measured(
    "transformers fp32",
    "full-size",
    1,
    [40.0, 80.0, 40.0],
    [60.0, 120.0, 60.0],
    [200.0] * 3,
    [40.0] * 3,
    [0.6, 0.8],
)
FAST = Measured(
    "clapstream fp32", "full-size", 1, [4.0, 8.0, 4.0], [30.0, 60.0, 20.0], [50.0] * 3, [2.0] * 3, [0.8, 0.6], 300.0
)


def test_everyone_begins_as_often_as_anyone_else() -> None:
    orders = turns(["a", "b", "c"], 6)
    assert [order[0] for order in orders] == ["a", "b", "c", "a", "b", "c"]
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_ratios_compare_within_a_round() -> None:
    assert times_faster([10.0, 100.0, 10.0], [5.0, 50.0, 1.0]) == 2.0


def test_the_reference_is_that_of_the_same_device_checkpoint_and_batch() -> None:
    on_gpu = Measured("transformers fp32 cuda", "full-size", 1)
    other_batch = Measured("transformers fp32", "full-size", 8)
    among = [on_gpu, other_batch, SLOW]
    assert reference_of(FAST, among) is SLOW
    assert reference_of(Measured("clapstream fp16 cuda", "full-size", 1), among) is on_gpu
    assert reference_of(Measured("clapstream bf16 cuda graph", "full-size", 1), among) is on_gpu
    assert reference_of(Measured("clapstream fp32", "full-size", 64), among) is None


def test_the_table_shows_medians_ratios_and_cosine() -> None:
    lines = comparison_table([SLOW, FAST]).splitlines()
    (row,) = [line for line in lines if "clapstream" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "clapstream fp32",
        "1",
        "4.0",
        "30.0",
        "34.0",
        "2.00",
        "2.94",
        "50.0",
        "4.00",
        "0.96000",
        "300",
    ]


def test_without_the_reference_the_ratios_are_left_empty() -> None:
    (row,) = [line for line in comparison_table([FAST]).splitlines() if "clapstream" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")][5:7] == ["", ""]


def test_hops_and_starts_have_tables_too() -> None:
    assert "20.0" in hop_table([SLOW, FAST])
    starts = [Start("transformers", "x", [8.0, 8.0]), Start("clapstream cached", "x", [2.0, 2.0], 350.0)]
    assert "| 4.0 " in start_table(starts)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tables_without_rows_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = Measured("clapstream fp32", "full-size", 8, [4.0], [30.0], [50.0])
    write_results("a machine", [batch], [], tmp_path)
    printed = capsys.readouterr().out
    assert "### full-size" in printed
    assert "hop" not in printed and "Start" not in printed


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "comparison.png"
    draw([SLOW, FAST], path, "a machine")
    assert path.read_bytes().startswith(b"\x89PNG")
