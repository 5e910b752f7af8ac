# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""A stored training state has all that is needed to continue."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

for package in ("inflect", "onnx", "onnxruntime", "scipy", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from training.audio_tower import Training, audio_side
from training.schedule import pace
from training.student import Student


@pytest.fixture
def training() -> Training:
    """A few steps in: the average is behind the student."""
    torch.manual_seed(1)
    found = Training(Student(targets=7, classes=5), 0)
    with torch.no_grad():
        for value in found.student.parameters():
            value.add_(0.1)
    found.step, found.seconds = 50, 12.5
    found.update_average()
    return found


def test_a_stored_state_is_restored(training: Training, tmp_path: Path) -> None:
    training.resumed_from = audio_side(training.average)
    training.save(tmp_path / "audio.pt")
    found = Training(Student(targets=7, classes=5), 0)
    found.load(tmp_path / "audio.pt")
    assert (found.step, found.seconds) == (50, 12.5)
    for name in ("student", "average"):
        torch.testing.assert_close(
            getattr(found, name).state_dict(), getattr(training, name).state_dict(), atol=0, rtol=0
        )
    torch.testing.assert_close(found.resumed_from, training.resumed_from, atol=0, rtol=0)


def test_the_step_size_rises_in_its_first_steps_and_falls_to_the_last() -> None:
    assert [pace(0.0, step, warm_up=4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert pace(0.5, last=0.02) == pytest.approx(0.51)
    assert pace(1.0, last=0.02) == pytest.approx(0.02)
