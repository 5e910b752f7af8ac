"""The audio tower's loss: against the teacher's tags and true labels, by text embeddings and by heads."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.student import Student


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


def weighted(terms: dict[str, Tensor]) -> Tensor:
    """What is minimised: the sum of the terms by `WEIGHTS`."""
    return torch.stack([WEIGHTS[key] * value for key, value in terms.items()]).sum()


def choice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy against `target` made a distribution; windows with little in it count less."""
    mass = target.sum(1, keepdim=True)
    share = target / mass.clamp(min=1e-6)
    loss: Tensor = -(mass.clamp(max=1)[:, 0] * (share * functional.log_softmax(logits, dim=1)).sum(1)).mean()
    return loss


WEIGHTS = {
    "window": 0.5, "tokens": 0.4, "ranking": 0.5, "labels": 0.7, "embedding": 1.5,
    "head_window": 0.7, "head_tokens": 1.0, "head_labels": 0.5,
    "alike": 0.0,  # mean cosine between windows: only for the log, 1 is a collapse
}  # fmt: skip
"""The heads are not kept: plain classifiers train the tower fast, the text space needs good features first."""


class LossLog:
    """Means of the terms over the steps since the last line."""

    def __init__(self) -> None:
        self._steps: list[list[float]] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Record one step."""
        self._steps.append([float(terms[key].detach()) for key in WEIGHTS])

    def line(self) -> str:
        """The means of the terms; forgets the steps."""
        means = [sum(values) / len(values) for values in zip(*self._steps, strict=True)]
        self._steps.clear()
        return " ".join(f"{key} {mean:.3f}" for key, mean in zip(WEIGHTS, means, strict=True))
