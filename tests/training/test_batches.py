# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""The batches for the audio tower have the windows and targets of the bank."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

for package in ("inflect", "onnx", "onnxruntime", "scipy", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from training import batches, shards
from training.bank import PLAIN_FROM
from training.batches import MOST_PARTS, SHORTEST_PART, WEAK_CLASSES, Batches, cuts
from training.shards import MISTAKEN, PATCH_FRAMES, Shards, joined, mistaken
from training.texts import label_classes

SHARD_WINDOWS = 64

CLASSES = [*WEAK_CLASSES, "Bark", "Dog", "Rain"]
LABELS = ["dog_barking", "rain"]
EVENT = ("dog_barking", 1.0, 2.0, -20.0)


class FewClasses:
    """Some classes and two labels."""

    classes = CLASSES
    labels = LABELS


def write_shard(folder: Path, event: tuple[str, float, float, float] | None) -> None:
    random = np.random.default_rng(int(folder.name))
    folder.mkdir()
    frames = np.linspace(-90, -10, 1001, dtype=np.float16)
    np.save(folder / "mel.npy", np.broadcast_to(frames[None, :, None], (SHARD_WINDOWS, 1001, 64)))
    np.save(folder / "logits.npy", random.normal(-3, 1, (SHARD_WINDOWS, 20, len(CLASSES))).astype(np.float16))
    np.save(folder / "embeddings.npy", random.random((SHARD_WINDOWS, 20, 300)).astype(np.float16))
    (folder / "events.json").write_text(json.dumps([[event] if event else []] * SHARD_WINDOWS))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    known = {label: [name for name in label_classes()[label] if name in CLASSES] for label in LABELS}
    for module in (batches, shards):
        monkeypatch.setattr(module, "label_classes", lambda: known)
    write_shard(tmp_path / "0000", None)
    write_shard(tmp_path / "0001", EVENT)
    write_shard(tmp_path / f"{PLAIN_FROM}", EVENT)
    return tmp_path


@pytest.fixture
def bank(folder: Path) -> Shards:
    return Shards(folder, FewClasses())  # type: ignore[arg-type]


def test_a_label_is_as_true_as_what_is_left_of_it(bank: Shards) -> None:
    index = SHARD_WINDOWS  # the second shard's first window: a bark from 1 to 2 s
    whole, after, half = (bank.part(index, *span).true for span in ((0, 20), (6, 20), (3, 20)))
    np.testing.assert_allclose(whole, [1, 0])
    np.testing.assert_allclose(after, [0, 0])
    np.testing.assert_allclose(half, [2.0 - 3 * 0.48, 0], atol=1e-6)


def test_of_a_single_clip_the_teacher_counts_less_where_it_hears_another_label(bank: Shards) -> None:
    composed, plain = SHARD_WINDOWS, 2 * SHARD_WINDOWS
    np.testing.assert_array_equal(bank.part(composed, 0, 20).logits, bank.logits[1][0])
    less = bank.logits[2][0] - bank.part(plain, 0, 20).logits
    np.testing.assert_allclose(less[:, CLASSES.index("Rain")], MISTAKEN, atol=0.01)  # float16
    np.testing.assert_array_equal(less[:, [CLASSES.index("Bark"), CLASSES.index("Dog")]], 0)


def test_what_a_label_is_often_heard_with_is_not_mistaken() -> None:
    classes = ["Telephone", "Music", "Doorbell", "Speech", "Beep, bleep", "Ringtone"]
    np.testing.assert_array_equal(mistaken("phone_ringing", classes), [0, MISTAKEN, 0, 0, 0, 0])
    np.testing.assert_array_equal(mistaken("singing", classes), [MISTAKEN, 0, MISTAKEN, 0, MISTAKEN, 0])


def test_parts_lie_one_after_the_other_and_then_is_silence(bank: Shards) -> None:
    first, second = bank.part(0, 0, 5), bank.part(SHARD_WINDOWS, 8, 14)
    window = joined([first, second])
    assert window.mel.shape == (1001, 64) and window.logits.shape == (20, len(CLASSES))
    np.testing.assert_array_equal(window.mel[: 5 * PATCH_FRAMES], first.mel)
    np.testing.assert_array_equal(window.mel[5 * PATCH_FRAMES : 11 * PATCH_FRAMES], second.mel)
    assert (window.mel[11 * PATCH_FRAMES :] == -100).all()
    np.testing.assert_array_equal(window.logits[5:11], second.logits)
    assert (window.logits[11:] == -20).all() and not window.embeddings[11:].any()


def test_windows_are_cut_into_two_to_five_parts_none_of_them_short() -> None:
    random = np.random.default_rng(1)
    drawn = [[0, *cuts(random), 20] for _ in range(500)]
    assert {len(borders) - 1 for borders in drawn} == set(range(2, MOST_PARTS + 1))
    assert min(np.diff(borders).min() for borders in drawn) == SHORTEST_PART
    assert len({borders[1] for borders in drawn}) > 10


def test_a_batch_is_finite_and_marks_where_its_embeddings_are_valid(folder: Path) -> None:
    made = Batches(folder, FewClasses())  # type: ignore[arg-type]
    batch = made.batch(np.random.default_rng(1), 50)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "mel": (50, 1, 1001, 64),
        "tokens": (50, 16, len(CLASSES)),
        "window": (50, len(CLASSES) + len(LABELS)),
        "labels": (50, len(LABELS)),
        "embeddings": (50, 16, 256),
        "unmixed": (50,),
    }
    assert all(torch.isfinite(value.float()).all() for value in batch.values())
    assert (~batch["unmixed"]).sum() == int(batches.MIXED * 50)
    for name in ("tokens", "window", "labels"):
        assert batch[name].min() >= 0 and batch[name].max() <= 1


def test_every_matrix_of_the_tower_has_one_worker_and_the_work_is_even() -> None:
    from training.optimisers import is_tower_matrix, make_adam, matrix_shares
    from training.student import Student

    student = Student(len(CLASSES) + len(LABELS), len(CLASSES))
    shares = matrix_shares(student, 2)
    shared = [id(value) for share in shares for value in share]
    others = [id(value) for group in make_adam(student).param_groups for value in group["params"]]
    assert sorted(shared + others) == sorted(id(value) for value in student.parameters())
    assert len(shared) == sum(is_tower_matrix(name, value) for name, value in student.named_parameters())
    work = [sum(value.numel() * min(value.shape) for value in share) for share in shares]
    assert max(work) < 1.1 * min(work)
