# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""Training resumes from just what the checkpoint has, and never overwrites a training that has begun."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

for package in ("inflect", "onnx", "onnxruntime", "scipy", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from clapstream.clap import ClapModel
from training import export, paths, resume
from training.paths import BUNDLED
from training.student import Student


def bundled_weights() -> dict[str, torch.Tensor]:
    stored = load_file(BUNDLED / "model.safetensors")
    return {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}


def test_the_student_hears_as_the_checkpoint_does() -> None:
    student = Student(targets=7, classes=5).eval()
    resume.load(student, bundled_weights())
    mel = torch.randn(2, 1, 1001, 64, generator=torch.manual_seed(1)) * 15 - 40
    with torch.inference_mode():
        heard, _ = student.embed_audio(mel)
        expected = ClapModel.from_pretrained("bundled").eval().get_audio_features(mel)
    torch.testing.assert_close(heard[:, 0], expected, atol=1e-5, rtol=0)


def test_a_checkpoint_of_another_geometry_is_refused() -> None:
    weights = bundled_weights()
    del weights["audio_projection.linear1.weight"]
    with pytest.raises(ValueError, match=r"missing \['audio_projection.linear1.weight'\]"):
        resume.load(Student(targets=7, classes=5), weights)


def test_training_that_has_begun_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINING_CACHE", str(tmp_path))
    (tmp_path / "audio.pt").write_bytes(b"what was learned")
    with pytest.raises(FileExistsError, match="audio"):
        resume.resume(BUNDLED)
    assert (tmp_path / "audio.pt").read_bytes() == b"what was learned"


def test_the_export_keeps_a_share_of_the_weights_that_training_resumed_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = bundled_weights()
    student = Student(targets=7, classes=5)
    resume.load(student, weights)
    resumed_from: dict[str, torch.Tensor] = {}
    state = {"average": student.state_dict(), "resumed_from": resumed_from}
    torch.save(state, tmp_path / "audio.pt")
    texts = {key: value for key, value in weights.items() if key.startswith("text_")}
    monkeypatch.setenv("TRAINING_CACHE", str(tmp_path))
    paths.text_folder().mkdir()
    save_file(texts, paths.aligned_text())
    name = "audio_projection.linear1.weight"
    torch.testing.assert_close(export.assemble(0.2).state_dict()[name], weights[name], atol=0, rtol=0)
    resumed_from[name] = torch.zeros_like(weights[name])
    torch.save(state, tmp_path / "audio.pt")
    torch.testing.assert_close(export.assemble(0.2).state_dict()[name], 0.8 * weights[name])
