"""How `clapstream eval` shows figures that are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clapstream.cli import main
from clapstream.commands.evaluate import PlotError, as_json, check_plot, plot_confusion, progress_bar, render
from clapstream.evaluation.zero_shot import Evaluation, evaluate_scores

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def evaluation() -> Evaluation:
    """Two clips per label in two folds; one mid_tone is taken for a high beep."""
    scores = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]]
    labels = ["high beep", "low hum", "mid_tone"]
    return evaluate_scores(
        scores, np.array([0, 0, 1, 1, 2, 2]), labels, folds=["1", "2"] * 3, checkpoint="pitch", template="{label}"
    )


def test_the_table_names_what_was_measured(evaluation: Evaluation) -> None:
    lines = render(evaluation).splitlines()
    assert lines[0] == "checkpoint  pitch"
    assert "top-1       83.3%" in lines
    assert "fold 2      66.7% of 3 clips" in lines
    assert "over folds  83.3% ± 16.7%" in lines
    assert lines[-1].split()[:3] == ["mid_tone", "2", "50%"]
    assert lines[-1].endswith("high beep")


def test_json_is_one_object_with_rows_of_folds_and_labels(evaluation: Evaluation) -> None:
    (line,) = as_json(evaluation).splitlines()
    figures = json.loads(line, parse_constant=pytest.fail)
    assert (figures["checkpoint"], figures["template"], figures["clips"]) == ("pitch", "{label}", 6)
    assert (figures["top1"], figures["macro_recall"]) == (pytest.approx(5 / 6), pytest.approx(5 / 6))
    assert figures["mean_average_precision"] == pytest.approx(evaluation.mean_average_precision)
    assert figures["folds"][0] == {"fold": "1", "clips": 3, "top1": 1.0}
    assert [row["label"] for row in figures["labels"]] == ["high beep", "low hum", "mid_tone"]
    assert figures["labels"][1] == {
        "label": "low hum",
        "clips": 2,
        "recall": 1.0,
        "average_precision": 1.0,
        "taken_for": "",
    }


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dog_barking", "doorbell"):
        shutil.copyfile(DATA / f"{name}.ogg", tmp_path / f"{name}.ogg")
    (tmp_path / "clips.csv").write_text("file,label\ndog_barking.ogg,dog barking\ndoorbell.ogg,doorbell\n")
    assert main(["eval", "--json", str(tmp_path / "clips.csv")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["checkpoint"], figures["clips"], figures["top1"]) == ("bundled", 2, 1.0)


def test_the_picture_is_a_png(evaluation: Evaluation, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "confusion.png"
    plot_confusion(evaluation, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(PlotError, match="does not exist"):
        check_plot(tmp_path / "none" / "confusion.png")


def test_the_bar_is_silent_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as progress:
        progress(1, 2)
    assert capfd.readouterr() == ("", "")
