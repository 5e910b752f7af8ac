"""Resumes training from a checkpoint: its parts are put where `audio` and `align` look for what they did so far.

A checkpoint has only the towers and projections. The heads that training has beside them are fitted to the tower
before the tower itself is trained: untrained heads would first undo some of what it has learned.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import paths, workers
from training.audio_tower import BATCH, Training, audio_side
from training.batches import Batches
from training.losses import LossLog, losses, weighted
from training.schedule import pace
from training.student import AUDIO_SIDE, FIRST_WINDOWS, SEED, Student, initial_student
from training.text_tokenizer import TOKENIZER_FILES
from training.vocabulary import Vocabulary

STEPS = 240
RATE = 4e-3
LOGGED_EVERY_STEPS = 20


def resume(
    folder: Path,
    worker_count: int = workers.COUNT,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    first_windows: int = FIRST_WINDOWS,
) -> None:
    """Read the checkpoint in `folder` into the cache; raises FileExistsError if training has begun there."""
    for path in (paths.audio_state(), paths.aligned_text()):
        if path.exists():
            raise FileExistsError(
                f"{path} exists: training has begun; delete it to resume from a checkpoint instead"
            )
    weights = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(folder / "model.safetensors").items()
    }
    paths.text_folder().mkdir(parents=True, exist_ok=True)
    for file in TOKENIZER_FILES:
        shutil.copyfile(folder / file, paths.text_folder() / file)
    texts = {key: value for key, value in weights.items() if key.startswith(("text_model.", "text_projection."))}
    save_file(texts, paths.aligned_text())
    workers.in_workers(_fit_heads, worker_count, weights, steps, batch, first_windows)


def _fit_heads(worker: int, weights: dict[str, Tensor], steps: int, batch: int, first_windows: int) -> None:
    torch.manual_seed(SEED)
    vocabulary = Vocabulary()
    batches = Batches(paths.cache() / "bank", vocabulary)
    student = initial_student(vocabulary, batches, first_windows)
    load(student, weights)
    towers = [student.audio_model, student.audio_projection]
    for tower in towers:
        tower.requires_grad_(False)
    optimiser = torch.optim.Adam([value for value in student.parameters() if value.requires_grad])
    random = np.random.default_rng((SEED, worker))
    log = LossLog()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(step / steps)
        terms = losses(student, batches.batch(random, batch), vocabulary.draw(random), batches.weight)
        student.zero_grad()
        torch.autograd.backward(weighted(terms))
        workers.average_gradients(student)
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimiser.step()
        log.add(terms)
        if worker == 0 and (step + 1) % LOGGED_EVERY_STEPS == 0:
            print(f"heads step {step + 1} of {steps} {log.line()}", flush=True)
    for tower in towers:
        tower.requires_grad_(True)
    student.audio_model.audio_encoder.batch_norm.requires_grad_(False)
    if worker == 0:
        training = Training(student, worker)
        training.resumed_from = audio_side(student)
        training.save(paths.audio_state())


def load(student: Student, weights: dict[str, Tensor]) -> None:
    """Load the checkpoint's audio side into the student; raises ValueError for names that do not match."""
    audio = {key: value for key, value in weights.items() if key.startswith(AUDIO_SIDE)}
    audio["logit_scale"] = weights["logit_scale_a"]
    left, unknown = student.load_state_dict(audio, strict=False)
    missing = [name for name in left if name.startswith(AUDIO_SIDE)]
    if missing or unknown:
        raise ValueError(f"the checkpoint has another geometry: missing {missing}, unknown {unknown}")
