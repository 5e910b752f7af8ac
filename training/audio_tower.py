"""The audio tower: taught by YAMNet's opinion of every 0.64 s and by true labels, all through text embeddings.

Every class is represented in each step by one random phrase of its own, so the tower learns to land near what
words mean, not near class numbers. Where phrases lie is fixed (see `text_space`).
"""

from __future__ import annotations

import copy
import math
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from training.batches import Bank
from training.paths import CACHE
from training.student import AUDIO_SIDE, SEED, Student, begin
from training.vocabulary import Phrases

WORKERS = 2
BATCH = 32
"""Windows a worker and step; workers average their gradients."""
RATE, MATRIX_RATE = 4e-4, 8e-4
"""Step sizes of AdamW, for vectors and heads, and of Muon, for the tower's matrices."""
NEWTON_STEPS = 3
"""Of Newton and Schulz's iteration in Muon: the usual five would take a quarter of a step, three take a sixth."""


def losses(student: Student, batch: dict[str, Tensor], texts: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """All terms of the loss for one batch, given one phrase's embedding for each class and label."""
    with torch.autocast("cpu", torch.bfloat16):
        embedded, hidden = student.embed_audio(batch["mel"])
        whole_head = student.window_head(hidden[:, 0]).float()
        token_head = student.token_head(hidden[:, 1:]).float()
    classes = batch["tokens"].shape[-1]
    scale = student.logit_scale.exp().clamp(max=100)
    cosines = embedded[:, 0] @ texts.T
    parts = scale * (embedded[:, 1:] @ texts[:classes].T) + student.bias + student.token_bias[:classes]
    aimed = torch.cat([batch["embeddings"].mean(1, keepdim=True), batch["embeddings"]], dim=1)
    alike = functional.cosine_similarity(student.teacher_embedding(hidden.float()), aimed, dim=-1)
    heard = (batch["window"][:, :classes] * weight[:classes]) ** 2

    def compare(logits: Tensor, target: Tensor) -> Tensor:
        loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (loss * weight[: target.shape[-1]]).sum(-1).mean() / 20

    return {
        "window": compare(scale * cosines + student.bias + student.class_bias, batch["window"]),
        "tokens": compare(parts, batch["tokens"]),
        "ranking": choice_loss(scale * cosines[:, :classes], heard),
        "labels": choice_loss(scale * cosines[:, classes:], batch["labels"]),
        "alike": embedded[:, 0].detach().mean(0).square().sum(),
        "embedding": ((1 - alike).mean(1) * batch["unmixed"]).mean(),
        "head_window": compare(whole_head, batch["window"]),
        "head_tokens": compare(token_head, batch["tokens"]),
        "head_labels": choice_loss(whole_head[:, classes:], batch["labels"]),
    }


def choice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against `target` made a distribution; windows with little in it count less."""
    mass = target.sum(1, keepdim=True)
    share = target / mass.clamp(min=1e-6)
    return -(mass.clamp(max=1)[:, 0] * (share * functional.log_softmax(logits, dim=1)).sum(1)).mean()


WEIGHTS = {
    "window": 0.5, "tokens": 0.4, "ranking": 0.5, "labels": 0.7, "embedding": 1.5,
    "head_window": 0.7, "head_tokens": 1.0, "head_labels": 0.5,
    "alike": 0.0,  # mean cosine between windows: only to be seen, 1 is a collapse
}  # fmt: skip
"""The heads are thrown away: plain classifiers teach the tower fast, the text space needs good features first."""


def train(minutes: float, name: str = "audio") -> None:
    """Train for `minutes` of wall clock, going on from the last state; the average of weights is what counts."""
    in_workers(_train, minutes, name)


def in_workers(work: Callable[..., None], *arguments: object) -> None:
    """Run `work(worker, *arguments)` in so many processes of one thread that can speak with each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_joined, (port, work, arguments), WORKERS)


def _joined(worker: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=worker, world_size=WORKERS)
    work(worker, *arguments)
    distributed.destroy_process_group()


def _train(worker: int, minutes: float, name: str) -> None:
    torch.manual_seed(SEED)
    phrases = Phrases()
    bank = Bank(CACHE / "bank", phrases)
    student = Student(len(phrases.classes) + len(phrases.labels)).train()
    begin(student, bank)
    average = copy.deepcopy(student).eval()
    optimiser, shares = make_optimiser(student), matrix_shares(student)
    # Its momentum, some 20 steps long, is not stored: each worker has that of its own share only.
    muon = torch.optim.Muon(
        shares[worker], lr=MATRIX_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw", ns_steps=NEWTON_STEPS
    )
    state_file, step, spent = CACHE / f"{name}.pt", 0, 0.0
    if state_file.exists():
        state = torch.load(state_file)
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    random = np.random.default_rng((SEED, step, worker))
    torch.manual_seed(SEED + worker)
    began, saved, sums, first = time.monotonic() - spent, time.monotonic(), dict.fromkeys(WEIGHTS, 0.0), step
    while (done := _agreed((time.monotonic() - began) / 60 / minutes)) < 1:
        pace = min(1.0, (step - first + 1) / 40) * (0.005 + 0.995 * (1 + math.cos(math.pi * done)) / 2)
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * RATE * pace
        muon.param_groups[0]["lr"] = MATRIX_RATE * pace
        terms = losses(student, bank.batch(random, BATCH, done), phrases.draw(random), bank.weight)
        total = sum(WEIGHTS[key] * value for key, value in terms.items())
        student.zero_grad()
        total.backward()
        average_gradients(student)
        nn.utils.clip_grad_norm_(student.parameters(), 2.0)
        optimiser.step()
        muon.step()
        share_matrices(shares)
        step += 1
        if worker == 0:
            follow(average, student, step)
        for key, value in terms.items():
            sums[key] += float(value.detach()) / 25
        if step % 25 == 0 and worker == 0:
            shown = " ".join(f"{key} {value:.3f}" for key, value in sums.items())
            rate = WORKERS * BATCH * (step - first) / (time.monotonic() - began - spent)
            print(f"step {step} {100 * done:.1f}% {shown} scale {student.logit_scale.exp():.1f} "
                  f"{rate:.1f} windows/s", flush=True)  # fmt: skip
        if step % 25 == 0:
            sums = dict.fromkeys(WEIGHTS, 0.0)
        if worker == 0 and time.monotonic() - saved > 150:
            save(state_file, student, average, optimiser, step, time.monotonic() - began)
            saved = time.monotonic()
    if worker == 0:
        save(state_file, student, average, optimiser, step, time.monotonic() - began)


def is_tower_matrix(name: str, value: Tensor) -> bool:
    """Whether a parameter is a matrix that stays in the checkpoint: these are what Muon is for."""
    kept = name.startswith(AUDIO_SIDE) and "bias_table" not in name
    return kept and value.ndim == 2


def matrix_shares(student: Student) -> list[list[nn.Parameter]]:
    """The tower's matrices dealt out to the workers, so that each has about as much to orthogonalise."""
    matrices = [value for name, value in student.named_parameters() if is_tower_matrix(name, value)]
    shares: list[list[nn.Parameter]] = [[] for _ in range(WORKERS)]
    work = [0] * WORKERS
    for value in sorted(matrices, key=lambda value: -value.numel() * min(value.shape)):
        least = work.index(min(work))
        shares[least].append(value)
        work[least] += value.numel() * min(value.shape)
    return shares


def make_optimiser(student: Student) -> torch.optim.AdamW:
    """AdamW for all but the tower's matrices.

    The projection's biases learn slowly: quick ones drift until all sounds are alike.
    """

    def pace(name: str) -> float:
        return 0.1 if "_projection" in name and name.endswith("bias") else 1.0

    groups = [
        {"params": [value], "weight_decay": 0.05 if value.ndim > 1 else 0.0, "pace": pace(name)}
        for name, value in student.named_parameters()
        if value.requires_grad and not is_tower_matrix(name, value)
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), foreach=True)


@torch.no_grad()
def share_matrices(shares: list[list[nn.Parameter]]) -> None:
    """Send every worker the matrices that another one has stepped."""
    for owner, share in enumerate(shares):
        flat = torch.cat([value.flatten() for value in share])
        distributed.broadcast(flat, owner)
        for value, part in zip(share, flat.split([value.numel() for value in share]), strict=True):
            value.copy_(part.view_as(value))


def _agreed(done: float) -> float:
    """The first worker's share of the time spent, so that all take the same steps."""
    value = torch.tensor(done)
    distributed.broadcast(value, 0)
    return float(value)


def average_gradients(student: Student) -> None:
    """Replace each gradient by the mean over the workers."""
    gradients = [value.grad for value in student.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= WORKERS
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def follow(average: Student, student: Student, step: int) -> None:
    """Move the running average towards the student's weights."""
    decay = min(0.998, (step + 1) / (step + 10))
    for mean, value in zip(average.parameters(), student.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def save(
    path: Path, student: Student, average: Student, optimiser: torch.optim.Optimizer, step: int, spent: float
) -> None:
    """Store everything that going on needs, in one move."""
    state = {
        "student": student.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "spent": spent,
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
