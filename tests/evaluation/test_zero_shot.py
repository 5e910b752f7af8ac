"""The evaluation, on clips and an embedder whose right answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.small_checkpoint import write_small_checkpoint

from clapstream.audio.block import RATE_HZ
from clapstream.evaluation.clips import ClipListError, LabelledClip
from clapstream.evaluation.embedder import ClapEmbedder, Floats
from clapstream.evaluation.zero_shot import TemplateError, evaluate, evaluate_clips, evaluate_scores, fill_template

FREQUENCIES_HZ = {"low hum": 100, "mid_tone": 1000, "high beep": 5000}


class PitchEmbedder:
    """Hears which of the three frequencies a clip has; knows a label's word wherever the prompt has it."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.batches: list[list[int]] = []

    def embed_audio(self, clips: Sequence[Floats]) -> Floats:
        self.batches.append([len(clip) for clip in clips])
        return np.stack([self._pitch(clip) for clip in clips])

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        self.prompts = list(texts)
        words = [name.replace("_", " ") for name in FREQUENCIES_HZ]
        return np.array([[float(word in text) for word in words] for text in texts], dtype=np.float32)

    @staticmethod
    def _pitch(clip: Floats) -> Floats:
        spectrum = np.abs(np.fft.rfft(clip))
        found = np.array([spectrum[round(hz * len(clip) / RATE_HZ)] for hz in FREQUENCIES_HZ.values()])
        return np.asarray(found / np.linalg.norm(found), dtype=np.float32)


def write_tone(path: Path, name: str, seconds: float = 0.2) -> None:
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * FREQUENCIES_HZ[name] * time), RATE_HZ)


@pytest.fixture
def clips(tmp_path: Path) -> list[LabelledClip]:
    """Two clips a label in two folds; the second mid_tone is really a high beep."""
    made = []
    for line, (label, sound, fold) in enumerate(
        [
            ("low hum", "low hum", "1"),
            ("low hum", "low hum", "2"),
            ("mid_tone", "mid_tone", "1"),
            ("mid_tone", "high beep", "2"),
            ("high beep", "high beep", "1"),
            ("high beep", "high beep", "2"),
        ],
        start=2,
    ):
        path = tmp_path / f"{line}.wav"
        write_tone(path, sound)
        made.append(LabelledClip(path, label, fold, line))
    return made


def test_the_figures_are_those_of_the_known_answers(clips: list[LabelledClip]) -> None:
    embedder = PitchEmbedder()
    evaluation = evaluate_clips(clips, embedder, checkpoint="pitch")
    assert embedder.prompts == [
        "This is a sound of high beep.",
        "This is a sound of low hum.",
        "This is a sound of mid tone.",
    ]
    assert evaluation.clips == 6
    assert evaluation.top1 == pytest.approx(5 / 6)
    assert [(fold.fold, fold.clips, fold.top1) for fold in evaluation.folds] == [
        ("1", 3, 1.0),
        ("2", 3, pytest.approx(2 / 3)),
    ]
    np.testing.assert_array_equal(evaluation.confusion, [[2, 0, 0], [0, 2, 0], [1, 0, 1]])
    beep, hum, tone = evaluation.labels
    assert (hum.clips, hum.recall, hum.average_precision, hum.taken_for) == (2, 1.0, pytest.approx(1.0), "")
    assert (tone.recall, tone.taken_for) == (0.5, "high beep")
    assert evaluation.macro_recall == pytest.approx((1 + 1 + 1 / 2) / 3)
    mean = np.mean([beep.average_precision, hum.average_precision, tone.average_precision])
    assert evaluation.mean_average_precision == pytest.approx(mean)


def test_scores_of_any_classifier_are_evaluated_without_embedding() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.6, 0.4]], dtype=np.float32)
    evaluation = evaluate_scores(scores, np.array([0, 1, 1]), ["dog", "cat"])
    assert (evaluation.clips, evaluation.top1, evaluation.macro_recall) == (3, pytest.approx(2 / 3), 0.75)
    assert evaluation.folds == ()
    assert [(row.label, row.clips, row.taken_for) for row in evaluation.labels] == [
        ("dog", 1, ""),
        ("cat", 2, "dog"),
    ]
    with pytest.raises(ValueError, match="'bird'"):
        evaluate_scores(np.eye(3, dtype=np.float32)[:2], np.array([0, 1]), ["dog", "cat", "bird"])


def test_clips_go_in_batches_and_are_counted(clips: list[LabelledClip]) -> None:
    embedder = PitchEmbedder()
    counted: list[tuple[int, int]] = []
    evaluate_clips(clips * 6, embedder, progress=lambda done, total: counted.append((done, total)))
    assert [len(batch) for batch in embedder.batches] == [16, 16, 4]
    assert counted == [(16, 36), (32, 36), (36, 36)]


def test_only_the_first_ten_seconds_are_heard(tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", "low hum", seconds=12.0)
    embedder = PitchEmbedder()
    evaluate_clips([LabelledClip(tmp_path / "long.wav", "low hum")], embedder)
    assert embedder.batches == [[10 * RATE_HZ]]


def test_audio_that_cannot_be_read_names_its_line(clips: list[LabelledClip]) -> None:
    clips[3].path.write_text("no sound")
    with pytest.raises(ClipListError, match=r"line 5: .*5\.wav"):
        evaluate_clips(clips, PitchEmbedder())


@pytest.mark.parametrize(
    "template",
    ["a sound", "{label} {}", "{0}", "{name}", "{label", "{label.__class__} x", "{label:{x}}", "{label!x}"],
)
def test_a_template_has_the_label_and_nothing_else_in_braces(template: str) -> None:
    with pytest.raises(TemplateError, match="template"):
        fill_template(template, "dog")


def test_underscores_are_spaces_in_a_prompt() -> None:
    assert fill_template("I hear {label}: {label}!", "crying_baby") == "I hear crying baby: crying baby!"


def test_a_wrong_template_is_found_before_a_checkpoint_is_loaded(clips: list[LabelledClip], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"file,label\n{clips[0].path.name},dog\n")
    with pytest.raises(TemplateError):
        evaluate(tmp_path / "list.csv", "no such checkpoint", template="dog")


def test_a_checkpoint_directory_is_evaluated(clips: list[LabelledClip], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    write_small_checkpoint(checkpoint)
    rows = [f"{clip.path.name},{clip.label},{clip.fold}" for clip in clips]
    (tmp_path / "list.csv").write_text("\n".join(["file,label,fold", *rows]))
    first, again = (evaluate(tmp_path / "list.csv", str(checkpoint), device="cpu") for _ in range(2))
    assert first.checkpoint == str(checkpoint)
    assert first.confusion.sum(axis=1).tolist() == [2, 2, 2]
    np.testing.assert_array_equal(first.confusion, again.confusion)
    assert first.mean_average_precision == again.mean_average_precision


def test_embeddings_have_unit_length_and_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    write_small_checkpoint(tmp_path)
    embedder = ClapEmbedder(str(tmp_path), device="cpu")
    random = np.random.default_rng(0)
    clips = [random.normal(0, 0.1, frames).astype(np.float32) for frames in (RATE_HZ, 4800)]
    together = embedder.embed_audio(clips)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        together, np.concatenate([embedder.embed_audio([clip]) for clip in clips]), atol=1e-5
    )
    texts = embedder.embed_texts(["a dog", "rain on the roof of a house"])
    np.testing.assert_allclose(texts[:1], embedder.embed_texts(["a dog"]), atol=1e-5)
