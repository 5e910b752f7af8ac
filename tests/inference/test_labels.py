"""Label sets made ready to score, on a real, tiny checkpoint directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from support.windows import model_settings, noise_windows

from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError
from clapstream.clap.model import ClapModel
from clapstream.clap.tokenizer import ClapTokenizer
from clapstream.config import LabelSet, LabelSettings
from clapstream.detection.scorer import Scorer
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine

LABELS = LabelSet(
    labels=(
        LabelSettings(name="dog barking", prompts=("a dog barking", "a dog")),
        LabelSettings(name="doorbell", prompts=("a doorbell rings",)),
    ),
    background=("a quiet room", "traffic in the distance"),
)
MORE_LABELS = LABELS.model_copy(update={"labels": (*LABELS.labels, LabelSettings(name="traffic"))})


def scorer(checkpoint: Path, label_set: LabelSet = LABELS) -> WindowScorer:
    settings = model_settings(checkpoint)
    return WindowScorer(TorchEngine(settings, None), LabelEmbedder(settings, None).listened_labels(label_set))


def test_scores_are_those_of_the_whole_model(checkpoint: Path) -> None:
    found = scorer(checkpoint).score(noise_windows(3))

    model = ClapModel.from_pretrained(checkpoint)
    tokenizer = ClapTokenizer.from_pretrained(checkpoint)
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)

    def texts(*prompts: str) -> NDArray[np.float32]:
        rows = [model.get_text_features(**tokenizer(prompt, return_tensors="pt"))[0] for prompt in prompts]
        return torch.stack(rows).numpy()

    with torch.inference_mode():
        prompts = [texts("a dog barking", "a dog"), texts("a doorbell rings")]
        background = texts("a quiet room", "traffic in the distance")
        features = extractor(noise_windows(3), sampling_rate=48_000, return_tensors="pt")
        audio = model.get_audio_features(**features).numpy()
    expected = Scorer(prompts, background, model.logit_scale_a.exp().item()).score(audio)
    assert found.shape == (3, 2)
    assert np.ptp(expected) > 0.1, "the checkpoint must tell these sounds apart, else the test says nothing"
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_second_start_does_not_load_the_text_tower(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, settings = tmp_path / "cache", model_settings(checkpoint)
    with caplog.at_level("INFO", "clapstream.inference"):
        first = LabelEmbedder(settings, cache).listened_labels(LABELS)
        assert "embedding 4 texts with the text tower" not in caplog.text
        assert "embedding 5 texts with the text tower" in caplog.text
        caplog.clear()
        embedder = LabelEmbedder(settings, cache)
        again = embedder.listened_labels(LABELS)
        assert "text tower" not in caplog.text
        more = embedder.listened_labels(MORE_LABELS)
        assert "embedding 3 texts with the text tower" in caplog.text, "only those of the new label"
    audio = TorchEngine(settings, None).embed(noise_windows(2)).windows
    np.testing.assert_array_equal(again.scorer.score(audio), first.scorer.score(audio))
    np.testing.assert_allclose(more.scorer.score(audio)[:, :2], first.scorer.score(audio), atol=1e-6)
    assert [info.slug for info in more.infos] == ["dog_barking", "doorbell", "traffic"]


def test_the_same_files_find_the_old_embeddings_and_others_do_not(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    LabelEmbedder(model_settings(checkpoint), cache).listened_labels(LABELS)
    moved = checkpoint.rename(tmp_path / "moved")
    (moved / "model.safetensors").touch()
    with caplog.at_level("INFO", "clapstream.inference"):
        LabelEmbedder(model_settings(moved), cache).listened_labels(LABELS)
        assert "text tower" not in caplog.text
        state = load_file(moved / "model.safetensors")
        state["text_projection.linear2.bias"][0] += 1.0
        save_file(state, moved / "model.safetensors")
        LabelEmbedder(model_settings(moved), cache).listened_labels(LABELS)
        assert "text tower" in caplog.text


def test_a_checkpoint_that_changes_while_it_is_in_use_is_not_mixed_with_the_old_one(checkpoint: Path) -> None:
    embedder = LabelEmbedder(model_settings(checkpoint), None)
    embedder.listened_labels(LABELS)
    state = load_file(checkpoint / "model.safetensors")
    state["text_projection.linear2.bias"][0] += 1.0
    save_file(state, checkpoint / "model.safetensors")
    embedder.listened_labels(LABELS)
    with pytest.raises(CheckpointError, match="has changed on disk; restart"):
        embedder.listened_labels(MORE_LABELS)


def test_a_checkpoint_without_a_text_tower_is_named(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"text_model.encoder", b"text_model.removed"))
    with pytest.raises(CheckpointError, match=r"text_model\.encoder"):
        LabelEmbedder(model_settings(checkpoint), None).listened_labels(LABELS)


def test_platt_scaling_of_the_checkpoint_is_used(checkpoint: Path) -> None:
    plain = scorer(checkpoint).score(noise_windows(1))
    (checkpoint / "calibration.json").write_text(json.dumps({"slope": 2.0, "offset": -1.0}))
    scaled = scorer(checkpoint).score(noise_windows(1))
    logits = np.log(plain / (1 - plain))
    np.testing.assert_allclose(scaled, 1 / (1 + np.exp(1 - 2 * logits)), atol=1e-4)


@pytest.mark.parametrize("text", ["{", "[]", '{"slope": 1}', '{"slope": "steep", "offset": 0}', '{"slope": null}'])
def test_a_damaged_calibration_is_named(checkpoint: Path, text: str) -> None:
    (checkpoint / "calibration.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"calibration\.json: needs the numbers slope and offset"):
        LabelEmbedder(model_settings(checkpoint), None)


def test_a_checkpoint_of_the_audio_tower_alone_is_refused(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    save_file({key: value for key, value in load_file(weights).items() if "logit_scale" not in key}, weights)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: has no logit_scale_a"):
        LabelEmbedder(model_settings(checkpoint), None)


def test_labels_that_a_checkpoint_cannot_separate_are_named(
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
    LabelEmbedder(model_settings(checkpoint), None).listened_labels(twins)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert str(checkpoint) in warning
    assert "cannot separate 1 of 3 label pairs" in warning
    assert "'bell' and 'chime' (cosine of their texts 1.000)" in warning
