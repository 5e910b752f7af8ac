"""The audio tower: taught by YAMNet's opinion of every 0.64 s and by true labels, all through text embeddings.

Every class is represented in each step by one random phrase of its own, so the tower learns to land near what
words mean, not near class numbers. Where phrases lie is fixed (see `text_space`).
"""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import workers
from training.batches import Bank
from training.losses import LossLog, losses, weighted
from training.optimisers import Optimiser
from training.paths import AUDIO_STATE, CACHE
from training.schedule import pace
from training.student import AUDIO_SIDE, SEED, Student, fresh
from training.vocabulary import Phrases

BATCH = 32
"""Windows a worker and step; workers average their gradients."""
WARM_UP = 40
"""Steps at the beginning, and when training goes on after a break."""
SHOWN_EVERY = 25
"""Steps from one line of the log to the next."""
SAVED_EVERY_SECONDS = 150


class Training:
    """The student, its running average, and what else going on needs; one in every worker, in step."""

    def __init__(self, student: Student, worker: int) -> None:
        self.student = student
        self.average = copy.deepcopy(student).eval()
        """Followed by the first worker alone: it is what counts in the end."""
        self.optimiser = Optimiser(student, worker)
        self.step, self.seconds = 0, 0.0
        self.begun_from: dict[str, Tensor] = {}
        """The audio side that was taken up; empty if training began from nothing."""

    def load(self, path: Path) -> None:
        """Take up a stored state."""
        state = torch.load(path)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.adam.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.begun_from = state["begun_from"]

    def save(self, path: Path) -> None:
        """Store everything that going on needs, in one move."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.adam.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "begun_from": self.begun_from,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the running average towards the student's weights."""
        decay = min(0.998, (self.step + 1) / (self.step + 10))
        for mean, value in zip(self.average.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def audio_side(student: Student) -> dict[str, Tensor]:
    """A copy of what a checkpoint keeps of the student."""
    return {key: value.clone() for key, value in student.state_dict().items() if key.startswith(AUDIO_SIDE)}


def train(minutes: float) -> None:
    """Train for `minutes` of wall clock, going on from the last state; the average of weights is what counts."""
    workers.in_workers(_train, minutes)


def _train(worker: int, minutes: float) -> None:
    torch.manual_seed(SEED)
    phrases = Phrases()
    bank = Bank(CACHE / "bank", phrases)
    student = fresh(phrases, bank)
    training = Training(student, worker)
    if AUDIO_STATE.exists():
        training.load(AUDIO_STATE)
    random = np.random.default_rng((SEED, training.step, worker))
    torch.manual_seed(SEED + worker)
    # The compiler fuses what lies between the matrix products: half of a step's time for a minute or two at first.
    compiled = torch.compile(losses, dynamic=False)
    log = LossLog()
    first = training.step
    began = saved = time.monotonic()
    before = training.seconds
    while (done := workers.agreed(training.seconds / 60 / minutes)) < 1:
        terms = compiled(student, bank.batch(random, BATCH, done), phrases.draw(random), bank.weight)
        student.zero_grad()
        weighted(terms).backward()
        workers.average_gradients(student)
        training.optimiser.step(pace(done, training.step - first, warm_up=WARM_UP, last=0.005))
        training.step += 1
        training.seconds = before + time.monotonic() - began
        if worker == 0:
            training.follow()
            log.add(terms)
        if worker == 0 and training.step % SHOWN_EVERY == 0:
            rate = workers.COUNT * BATCH * (training.step - first) / (training.seconds - before)
            print(f"step {training.step} {100 * done:.1f}% {log.line()} {rate:.1f} windows/s", flush=True)
        if worker == 0 and time.monotonic() - saved > SAVED_EVERY_SECONDS:
            training.save(AUDIO_STATE)
            saved = time.monotonic()
    if worker == 0:
        training.save(AUDIO_STATE)
