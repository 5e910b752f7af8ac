"""The student's optimisers: Muon for the tower's matrices, shared between the workers, and AdamW for all else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training import workers
from training.student import AUDIO_SIDE, Student

RATE, MATRIX_RATE = 4e-4, 8e-4
"""Step sizes of AdamW, for vectors and heads, and of Muon, for the tower's matrices."""
NEWTON_STEPS = 3
"""Of Newton and Schulz's iteration in Muon: the usual five would take a quarter of a step, three take a sixth."""


class Optimiser:
    """AdamW for what every worker steps, and Muon for this worker's share of the matrices."""

    def __init__(self, student: Student, worker: int) -> None:
        self._student = student
        self._shares = matrix_shares(student, workers.count())
        self.adam = make_adam(student)
        # Its momentum, some 20 steps long, is not stored: each worker has only that of its own share.
        self._muon = torch.optim.Muon(
            self._shares[worker],
            lr=MATRIX_RATE,
            weight_decay=0.05,
            adjust_lr_fn="match_rms_adamw",
            ns_steps=NEWTON_STEPS,
        )

    def step(self, pace: float) -> None:
        """Step by the averaged gradients, at `pace` 0..1 of the full rates."""
        for group in self.adam.param_groups:
            group["lr"] = group["pace"] * RATE * pace
        self._muon.param_groups[0]["lr"] = MATRIX_RATE * pace
        nn.utils.clip_grad_norm_(self._student.parameters(), 2.0)
        self.adam.step()
        self._muon.step()  # type: ignore[no-untyped-call]
        for owner, share in enumerate(self._shares):
            workers.send(share, owner)


def is_tower_matrix(name: str, value: Tensor) -> bool:
    """Whether a parameter is a matrix that stays in the checkpoint: these are what Muon is for."""
    kept = name.startswith(AUDIO_SIDE) and "bias_table" not in name
    return kept and value.ndim == 2


def matrix_shares(student: Student, count: int) -> list[list[nn.Parameter]]:
    """The tower's matrices in `count` shares that take about equally long to orthogonalise."""
    matrices = [value for name, value in student.named_parameters() if is_tower_matrix(name, value)]
    shares: list[list[nn.Parameter]] = [[] for _ in range(count)]
    work = [0] * count
    for value in sorted(matrices, key=lambda value: -value.numel() * min(value.shape)):
        least = work.index(min(work))
        shares[least].append(value)
        work[least] += value.numel() * min(value.shape)
    return shares


def make_adam(student: Student) -> torch.optim.AdamW:
    """AdamW for all but the tower's matrices.

    The projection's biases learn slowly: quick ones drift until all sounds are alike.
    """

    def relative_rate(name: str) -> float:
        return 0.1 if "_projection" in name and name.endswith("bias") else 1.0

    groups = [
        {"params": [value], "weight_decay": 0.05 if value.ndim > 1 else 0.0, "pace": relative_rate(name)}
        for name, value in student.named_parameters()
        if value.requires_grad and not is_tower_matrix(name, value)
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), foreach=True)
