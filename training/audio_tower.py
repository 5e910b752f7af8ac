"""Trains the audio tower on YAMNet's tags of every 0.48 s and on true labels, both by way of text embeddings.

In each step every class is represented by one random phrase of its own, so that the tower learns to match what
words mean, not class numbers. The embeddings of the phrases are fixed (see `text_space`).
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import paths, workers
from training.batches import Batches
from training.losses import LossLog, losses, weighted
from training.optimisers import Optimiser
from training.schedule import pace
from training.student import AUDIO_SIDE, FIRST_WINDOWS, SEED, Student, initial_student
from training.vocabulary import Vocabulary

BATCH = 32
"""Windows a worker and step; workers average their gradients."""
WARM_UP = 40
"""Steps at the beginning, and when training continues after a break."""
LOGGED_EVERY_STEPS = 25
SAVED_EVERY_SECONDS = 150


@dataclass(frozen=True, slots=True)
class Budget:
    """How long the tower is trained, and with what."""

    minutes: float
    batch: int
    first_windows: int
    compiled: bool


class Training:
    """The student, its running average, and what else is needed to continue; the same in every worker."""

    def __init__(self, student: Student, worker: int) -> None:
        self.student = student
        self.average = copy.deepcopy(student).eval()
        """Kept by the first worker alone: its weights are exported."""
        self.optimiser = Optimiser(student, worker)
        self.step, self.seconds = 0, 0.0
        self.resumed_from: dict[str, Tensor] = {}
        """The audio side of the checkpoint that training resumed from; empty if it started from nothing."""

    def load(self, path: Path) -> None:
        """Read a stored state."""
        state = torch.load(path)
        self.student.load_state_dict(state["student"])
        self.average.load_state_dict(state["average"])
        self.optimiser.adam.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.resumed_from = state["resumed_from"]

    def save(self, path: Path) -> None:
        """Store everything that is needed to continue; replaces an older file atomically."""
        state = {
            "student": self.student.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.adam.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "resumed_from": self.resumed_from,
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the running average towards the student's weights."""
        decay = min(0.998, (self.step + 1) / (self.step + 10))
        for mean, value in zip(self.average.parameters(), self.student.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def audio_side(student: Student) -> dict[str, Tensor]:
    """A copy of what a checkpoint keeps of the student."""
    return {key: value.clone() for key, value in student.state_dict().items() if key.startswith(AUDIO_SIDE)}


def train(
    minutes: float,
    worker_count: int = workers.COUNT,
    *,
    batch: int = BATCH,
    first_windows: int = FIRST_WINDOWS,
    compiled: bool = True,
) -> None:
    """Train for `minutes` of wall clock, continuing from the last state, and store the new one."""
    workers.in_workers(_train, worker_count, Budget(minutes, batch, first_windows, compiled))


def _train(worker: int, budget: Budget) -> None:
    torch.manual_seed(SEED)
    vocabulary = Vocabulary()
    batches = Batches(paths.cache() / "bank", vocabulary)
    training = Training(initial_student(vocabulary, batches, budget.first_windows), worker)
    if paths.audio_state().exists():
        training.load(paths.audio_state())
    random = np.random.default_rng((SEED, training.step, worker))
    torch.manual_seed(SEED + worker)
    # The compiler fuses what lies between the matrix products: half of a step's time, after a minute or two.
    compute = torch.compile(losses, dynamic=False) if budget.compiled else losses
    log, saved = LossLog(), time.monotonic()
    progress = Progress(training, budget.minutes)
    while (done := progress.done()) < 1:
        batch = batches.batch(random, budget.batch, done)
        terms = compute(training.student, batch, vocabulary.draw(random), batches.weight)
        training.student.zero_grad()
        torch.autograd.backward(weighted(terms))
        workers.average_gradients(training.student)
        training.optimiser.step(pace(done, progress.steps, warm_up=WARM_UP, last=0.005))
        progress.count_step()
        if worker > 0:
            continue
        training.update_average()
        log.add(terms)
        if training.step % LOGGED_EVERY_STEPS == 0:
            print(f"step {training.step} {100 * done:.1f}% {log.line()} {progress.speed(budget.batch)}", flush=True)
        if time.monotonic() - saved > SAVED_EVERY_SECONDS:
            training.save(paths.audio_state())
            saved = time.monotonic()
    if worker == 0:
        training.save(paths.audio_state())


class Progress:
    """How far training is, over all runs that continued it, and how fast this one goes."""

    def __init__(self, training: Training, minutes: float) -> None:
        self._training, self._minutes = training, minutes
        self._first_step, self._seconds_before = training.step, training.seconds
        self._began = time.monotonic()

    @property
    def steps(self) -> int:
        """Steps of this run."""
        return self._training.step - self._first_step

    def done(self) -> float:
        """The share of the budget that is spent, as the first worker sees it."""
        return workers.agreed(self._training.seconds / 60 / self._minutes)

    def count_step(self) -> None:
        """One more step was taken."""
        self._training.step += 1
        self._training.seconds = self._seconds_before + time.monotonic() - self._began

    def speed(self, batch: int) -> str:
        """Windows a second of this run, of all workers together."""
        seconds = self._training.seconds - self._seconds_before
        return f"{workers.count() * batch * self.steps / seconds:.1f} windows/s"
