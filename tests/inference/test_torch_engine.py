"""The detector on a real, tiny checkpoint directory: from sound to scores, and what goes wrong with checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.small_checkpoint import write_small_checkpoint

from clapstream.audio.position import StreamPosition
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError
from clapstream.clap.model import ClapModel
from clapstream.clap.tokenizer import ClapTokenizer
from clapstream.config import LabelSet, LabelSettings, ModelSettings
from clapstream.detection.scorer import Scorer
from clapstream.inference.precision import DeviceError, has_bf16
from clapstream.inference.torch_engine import Detector

LABELS = LabelSet(
    labels=(
        LabelSettings(name="dog barking", prompts=("a dog barking", "a dog")),
        LabelSettings(name="doorbell", prompts=("a doorbell rings",)),
    ),
    background=("a quiet room", "traffic in the distance"),
)
MORE_LABELS = LABELS.model_copy(update={"labels": (*LABELS.labels, LabelSettings(name="traffic"))})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    write_small_checkpoint(directory)
    return directory


@pytest.fixture
def checkpoint(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    for path in written.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def settings(checkpoint: Path, precision: str = "fp32", device: str = "cpu") -> ModelSettings:
    return ModelSettings.model_validate({"checkpoint": str(checkpoint), "device": device, "precision": precision})


def windows(count: int, frames: int = 480_000) -> list[NDArray[np.float32]]:
    generator = np.random.default_rng(1)
    loudness = 10.0 ** -np.arange(count)[:, None]
    return list((generator.standard_normal((count, frames)) * loudness).astype(np.float32))


def test_scores_are_those_of_the_whole_model(checkpoint: Path) -> None:
    found = Detector(settings(checkpoint), LABELS, None).score(windows(3))

    model = ClapModel.from_pretrained(checkpoint)
    tokenizer = ClapTokenizer.from_pretrained(checkpoint)
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)

    def texts(*prompts: str) -> NDArray[np.float32]:
        rows = [model.get_text_features(**tokenizer(prompt, return_tensors="pt"))[0] for prompt in prompts]
        return torch.stack(rows).numpy()

    with torch.inference_mode():
        prompts = [texts("a dog barking", "a dog"), texts("a doorbell rings")]
        background = texts("a quiet room", "traffic in the distance")
        audio = model.get_audio_features(**extractor(windows(3), sampling_rate=48_000, return_tensors="pt")).numpy()
    expected = Scorer(prompts, background, model.logit_scale_a.exp().item()).score(audio)
    assert found.shape == (3, 2)
    assert np.ptp(expected) > 0.1, "the checkpoint must tell these sounds apart, else the test says nothing"
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_second_start_does_not_read_the_text_tower(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = Detector(settings(checkpoint), LABELS, cache).score(windows(2))
    weights = checkpoint / "model.safetensors"
    age = weights.stat().st_mtime_ns
    weights.write_bytes(weights.read_bytes().replace(b"text_model.encoder", b"text_model.removed"))
    os.utime(weights, ns=(age, age))

    again = Detector(settings(checkpoint), LABELS, cache)
    np.testing.assert_array_equal(again.score(windows(2)), first)
    with pytest.raises(CheckpointError, match=r"text_model\.encoder"):
        again.relabel(MORE_LABELS)
    np.testing.assert_array_equal(again.score(windows(2)), first)


def test_other_weights_do_not_find_old_embeddings(checkpoint: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    Detector(settings(checkpoint), LABELS, cache)
    (checkpoint / "model.safetensors").touch()
    Detector(settings(checkpoint), LABELS, cache)
    assert len(list(cache.iterdir())) == 2


def test_relabel_changes_the_scores_without_a_restart(checkpoint: Path) -> None:
    detector = Detector(settings(checkpoint), LABELS, None)
    before = detector.score(windows(2))
    detector.relabel(MORE_LABELS)
    after = detector.score(windows(2))
    np.testing.assert_allclose(after[:, :2], before, atol=1e-6)
    assert after.shape == (2, 3)


def test_a_shorter_window_is_repeated(checkpoint: Path) -> None:
    detector = Detector(settings(checkpoint), LABELS, None)
    second = windows(1, 48_000)[0]
    np.testing.assert_allclose(detector.embed([second]), detector.embed([np.tile(second, 10)]), atol=1e-5)


def test_windows_of_many_lengths_do_not_disturb_each_other(checkpoint: Path) -> None:
    detector = Detector(settings(checkpoint), LABELS, None)
    mixed = [*windows(4), windows(1, 100_001)[0], *windows(4)]
    together = detector.embed(mixed)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for window, row in zip(mixed, together, strict=True):
        np.testing.assert_allclose(detector.embed([window])[0], row, atol=1e-5)


class Stream:
    """Stands for a stream: only its identity counts."""


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_windows_of_streams_score_as_if_each_came_by_itself(tmp_path: Path, truncation: str) -> None:
    write_small_checkpoint(tmp_path, truncation)
    detector = Detector(settings(tmp_path), LABELS, None)
    kitchen, yard = windows(2, 960_000)
    streams = (Stream(), Stream())
    for end in (120_000, 480_000, 600_000, 960_000):
        batch = [sound[max(0, end - 480_000) : end].copy() for sound in (kitchen, yard)]
        positions = [StreamPosition(stream, max(0, end - 480_000)) for stream in streams]
        np.testing.assert_allclose(detector.embed(batch, positions), detector.embed(batch), atol=1e-5)


def test_a_fused_checkpoint_works_and_has_no_chance_in_it(tmp_path: Path) -> None:
    write_small_checkpoint(tmp_path, truncation="fusion")
    detector = Detector(settings(tmp_path), LABELS, None)
    first, second = (detector.score(windows(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_bf16_is_close_to_fp32(checkpoint: Path) -> None:
    exact = Detector(settings(checkpoint), LABELS, None)
    fast = Detector(settings(checkpoint, "bf16"), LABELS, None)
    assert fast.precision == torch.bfloat16
    cosines = (exact.embed(windows(3)) * fast.embed(windows(3))).sum(axis=1)
    assert cosines.min() > 0.999


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="auto takes bf16 only where the CPU has it")
def test_auto_takes_bf16_where_it_agrees(checkpoint: Path) -> None:
    chosen = Detector(settings(checkpoint, "auto"), LABELS, None)
    assert chosen.precision == torch.bfloat16
    np.testing.assert_array_equal(
        chosen.embed(windows(2)), Detector(settings(checkpoint, "bf16"), LABELS, None).embed(windows(2))
    )


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="auto takes bf16 only where the CPU has it")
def test_auto_is_exactly_fp32_for_a_checkpoint_that_bf16_harms(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = checkpoint / "model.safetensors"
    state = load_file(weights)
    # An offset that the next layer takes away again; beside it bf16 steps by 16 and loses all that differs.
    state["audio_model.audio_encoder.norm.bias"] += 3000.0
    state["audio_projection.linear1.bias"] -= state["audio_projection.linear1.weight"].sum(dim=1) * 3000.0
    save_file(state, weights)
    chosen = Detector(settings(checkpoint, "auto"), LABELS, None)
    assert chosen.precision == torch.float32
    assert "bf16 is off" in caplog.text
    np.testing.assert_array_equal(
        chosen.embed(windows(2)), Detector(settings(checkpoint, "fp32"), LABELS, None).embed(windows(2))
    )


def test_calibration_of_the_checkpoint_is_used(checkpoint: Path) -> None:
    plain = Detector(settings(checkpoint), LABELS, None).score(windows(1))
    (checkpoint / "calibration.json").write_text(json.dumps({"slope": 2.0, "offset": -1.0}))
    calibrated = Detector(settings(checkpoint), LABELS, None).score(windows(1))
    logits = np.log(plain / (1 - plain))
    np.testing.assert_allclose(calibrated, 1 / (1 + np.exp(1 - 2 * logits)), atol=1e-4)


@pytest.mark.parametrize("text", ["{", "[]", '{"slope": 1}', '{"slope": "steep", "offset": 0}', '{"slope": null}'])
def test_a_damaged_calibration_is_named(checkpoint: Path, text: str) -> None:
    (checkpoint / "calibration.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"calibration\.json: needs the numbers slope and offset"):
        Detector(settings(checkpoint), LABELS, None)


def test_a_checkpoint_of_the_audio_tower_alone_is_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    save_file({key: value for key, value in load_file(weights).items() if "logit_scale" not in key}, weights)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: has no logit_scale_a"):
        Detector(settings(checkpoint), LABELS, None)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing"):
        Detector(settings(tmp_path / "nothing"), LABELS, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_said(checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match=r"model\.device: cuda is not there"):
        Detector(settings(checkpoint, device="cuda"), LABELS, None)


def test_labels_that_a_checkpoint_cannot_tell_apart_are_said(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twins = LabelSet(
        labels=(
            LabelSettings(name="bell", prompts=("a doorbell rings",)),
            LabelSettings(name="chime", prompts=("a doorbell rings",)),
            LabelSettings(name="dog barking", prompts=("a dog barking",)),
        ),
        background=("a quiet room",),
    )
    Detector(settings(checkpoint), twins, None)
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(checkpoint) in said
    assert "1 of 3 pairs" in said
    assert "'bell' and 'chime' (cosine of their texts 1.000)" in said


def test_warming_up_runs_a_batch_of_every_size_that_the_sources_may_ask_for(checkpoint: Path) -> None:
    detector = Detector(settings(checkpoint), LABELS, None)
    sizes: list[int] = []
    detector._tower.register_forward_pre_hook(
        lambda _module, _args, kwargs: sizes.append(len(kwargs["input_features"])), with_kwargs=True
    )
    detector.warm_up(3)
    assert sizes == [1, 2, 3]
    sizes.clear()
    detector.warm_up(100)
    assert sizes == [1, 2, 3, 4]
    detector.embed(windows(9))
    assert sizes[4:] == [4, 4, 1]  # of any number of sources, no batch is larger than what is warm
