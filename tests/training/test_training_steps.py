# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""Every step of training runs on tiny inputs, and leaves behind what the next one reads."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

for package in ("inflect", "onnx", "onnxruntime", "scipy", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from support import tiny_training

from clapstream.clap import ClapModel, ClapProcessor
from training import demo_recording, paths
from training.__main__ import run
from training.align import Sizes

MOMENT = 1e-6
"""Minutes: enough for one step of an optimiser."""
WINDOWS = 16
FIRST_WINDOWS = 32


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny inputs, found by way of the environment as anybody's own would be."""
    folder = tmp_path_factory.mktemp("training")
    tiny_training.write_sounds(folder / "data")
    tiny_training.write_phrases(folder / "phrases")
    tiny_training.write_wordnet(folder / "wordnet")
    tiny_training.write_audio_teacher(folder / "packages")
    tiny_training.write_text_teacher(folder / "packages")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("data", "phrases", "wordnet", "cache"):
            patch.setenv(f"TRAINING_{name.upper()}", str(folder / name))
        patch.syspath_prepend(folder / "packages")
        yield folder


@pytest.fixture(scope="module")
def bank(material: Path) -> Path:
    run("bank", shards=1, plain_shards=1, worker_count=1, windows=WINDOWS)
    return material / "cache" / "bank"


@pytest.fixture(scope="module")
def trained(bank: Path) -> Path:
    run("text", minutes=MOMENT, texts=200, held_out=8, batch=8)
    run("audio", minutes=MOMENT, worker_count=1, batch=4, first_windows=FIRST_WINDOWS, compiled=False)
    run("align", minutes=MOMENT, sizes=Sizes(batch=8, held_out=8, projection_texts=32, projection_steps=4))
    return bank.parent


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Path:
    run("export", folder=trained / "out", kept=0.0)
    return trained / "out"


def test_the_bank_has_windows_tags_and_events(bank: Path) -> None:
    assert sorted(path.name for path in bank.iterdir()) == ["0000", "1000"]
    for shard in bank.iterdir():
        mel, logits = np.load(shard / "mel.npy"), np.load(shard / "logits.npy")
        assert mel.shape == (WINDOWS, 1001, 64) and logits.shape == (WINDOWS, 20, len(tiny_training.CLASSES))
        assert np.isfinite(mel).all() and np.isfinite(logits).all()
        assert len(json.loads((shard / "events.json").read_text())) == WINDOWS


@pytest.mark.slow
def test_training_leaves_a_state_that_can_be_continued(trained: Path) -> None:
    steps = torch.load(paths.audio_state())["step"]
    assert steps >= 1
    run("audio", minutes=torch.load(paths.audio_state())["seconds"] / 60 + MOMENT, worker_count=1, batch=4,
        first_windows=FIRST_WINDOWS, compiled=False)  # fmt: skip
    assert torch.load(paths.audio_state())["step"] == steps + 1
    assert {path.name for path in paths.text_folder().iterdir()} == {
        "aligned.safetensors", "text.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_the_exported_checkpoint_embeds_sounds_and_texts(checkpoint: Path) -> None:
    model, processor = ClapModel.from_pretrained(checkpoint), ClapProcessor.from_pretrained(checkpoint)
    batch = processor(
        text=["rain"], audio=[tiny_training.tone("rain", 1.0)], sampling_rate=48_000, return_tensors="pt"
    )
    with torch.inference_mode():
        sound = model.get_audio_features(batch["input_features"])
        text = model.get_text_features(batch["input_ids"], batch["attention_mask"])
    assert sound.shape == text.shape == (1, 512)
    assert torch.isfinite(sound).all() and torch.isfinite(text).all()
    bundled = json.loads((paths.BUNDLED / "preprocessor_config.json").read_text())
    assert json.loads((checkpoint / "preprocessor_config.json").read_text()) == bundled


def test_training_resumes_from_the_checkpoint(
    checkpoint: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINING_CACHE", str(tmp_path))
    (tmp_path / "bank").symlink_to(bank)
    run("resume", folder=checkpoint, worker_count=1, steps=2, batch=4, first_windows=FIRST_WINDOWS)
    state = torch.load(paths.audio_state())
    assert state["step"] == 0 and state["resumed_from"]
    assert paths.aligned_text().exists()


@pytest.mark.slow
def test_the_checkpoint_is_calibrated_measured_and_described(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("calibrate", folder=checkpoint, minutes=1, worker_count=1, shards=1, windows=WINDOWS)
    assert json.loads((checkpoint / "calibration.json").read_text()).keys() == {"slope", "offset"}
    assert "4 minutes of backgrounds" in capsys.readouterr().out
    run("card", folder=checkpoint)
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert "less 2 held out" in card and "validation: 13 clips, 13 labels: clapstream top-1" in card
    run("evaluate", folder=checkpoint)
    assert capsys.readouterr().out.strip() in card
    run("open-vocabulary", checkpoint=str(checkpoint))
    assert "a puppy yapping (dog_barking)" in capsys.readouterr().out


def test_scenes_are_measured_and_written(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(
        "scenes", checkpoint=str(checkpoint), config=None, events_from="validation", scenes=1, minutes=1, first=None
    )
    shown = capsys.readouterr().out
    assert "event-based F1" in shown and "backgrounds alone" in shown
    run("write-scenes", folder=tmp_path, scenes=1)
    assert soundfile.info(tmp_path / "scene-00.flac").duration == 60
    with (tmp_path / "events.csv").open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3


def test_the_demo_recording_is_mixed_with_its_attribution(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    with (tmp_path / "open.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", "source", "licence"])
        for number, file in enumerate(demo_recording.used_files()):
            sound = tiny_training.tone(list(tiny_training.LABELS)[number], 1.0)
            soundfile.write(tmp_path / "open" / file, sound, 48_000, format="OGG", subtype="OPUS")
            writer.writerow([file, f"sound {number}", "made here", "CC0"])
    run("demo-recording", folder=tmp_path / "open", target=tmp_path / "demo")
    assert soundfile.info(tmp_path / "demo" / "recording.ogg").duration == demo_recording.SECONDS
    assert "| sound 0 | made here | CC0 |" in (tmp_path / "demo" / "ATTRIBUTION.md").read_text(encoding="utf-8")
