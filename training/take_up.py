"""Go on from a checkpoint: its parts put where `audio` and `align` look for what they have done so far.

A checkpoint holds the towers and projections only. The heads that training has beside them are fitted to the tower
as it is, before the tower moves: from nothing they would first undo some of what it knows.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import workers
from training.audio_tower import BATCH, Training, audio_side
from training.batches import Bank
from training.losses import LossLog, losses, weighted
from training.paths import ALIGNED_TEXT, AUDIO_STATE, CACHE
from training.schedule import pace
from training.student import AUDIO_SIDE, SEED, Student, fresh
from training.text_tower import TOKENIZER_FILES
from training.vocabulary import Phrases

STEPS = 240
RATE = 4e-3


def take_up(folder: Path) -> None:
    """Put the checkpoint in `folder` into an empty cache; raises FileExistsError if training has begun there."""
    for path in (AUDIO_STATE, ALIGNED_TEXT):
        if path.exists():
            raise FileExistsError(f"{path} is there: training has begun, delete it to take up a checkpoint instead")
    weights = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_file(folder / "model.safetensors").items()
    }
    (CACHE / "text").mkdir(parents=True, exist_ok=True)
    for file in TOKENIZER_FILES:
        shutil.copyfile(folder / file, CACHE / "text" / file)
    texts = {key: value for key, value in weights.items() if key.startswith(("text_model.", "text_projection."))}
    save_file(texts, ALIGNED_TEXT)
    workers.in_workers(_fit_heads, weights)


def _fit_heads(worker: int, weights: dict[str, Tensor]) -> None:
    torch.manual_seed(SEED)
    phrases = Phrases()
    bank = Bank(CACHE / "bank", phrases)
    student = fresh(phrases, bank)
    load(student, weights)
    towers = [student.audio_model, student.audio_projection]
    for tower in towers:
        tower.requires_grad_(False)
    optimiser = torch.optim.Adam([value for value in student.parameters() if value.requires_grad])
    random = np.random.default_rng((SEED, worker))
    log = LossLog()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(step / STEPS)
        terms = losses(student, bank.batch(random, BATCH), phrases.draw(random), bank.weight)
        student.zero_grad()
        weighted(terms).backward()
        workers.average_gradients(student)
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimiser.step()
        if worker == 0:
            log.add(terms)
            if (step + 1) % 20 == 0:
                print(f"heads step {step + 1} of {STEPS} {log.line()}", flush=True)
    for tower in towers:
        tower.requires_grad_(True)
    student.audio_model.audio_encoder.batch_norm.requires_grad_(False)
    if worker == 0:
        training = Training(student, worker)
        training.begun_from = audio_side(student)
        training.save(AUDIO_STATE)


def load(student: Student, weights: dict[str, Tensor]) -> None:
    """The checkpoint's audio side in the student's place; every name must be known."""
    audio = {key: value for key, value in weights.items() if key.startswith(AUDIO_SIDE)}
    audio["logit_scale"] = weights["logit_scale_a"]
    left, unknown = student.load_state_dict(audio, strict=False)
    missing = [name for name in left if name.startswith(AUDIO_SIDE)]
    if missing or unknown:
        raise ValueError(f"the checkpoint is not of this geometry: missing {missing}, unknown {unknown}")
