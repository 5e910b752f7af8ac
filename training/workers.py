"""Processes of one thread that train one model together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, distributed, nn

COUNT = 2


def in_workers(work: Callable[..., None], *arguments: object) -> None:
    """Run `work(worker, *arguments)` in so many processes of one thread that can speak with each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_joined, (port, work, arguments), COUNT)


def _joined(worker: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=worker, world_size=COUNT)
    work(worker, *arguments)
    distributed.destroy_process_group()


def agreed(done: float) -> float:
    """The first worker's share of the time spent, so that all take the same steps."""
    value = torch.tensor(done)
    distributed.broadcast(value, 0)
    return float(value)


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by the mean over the workers."""
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    _fill(gradients, flat / COUNT)


@torch.no_grad()
def send(values: Iterable[Tensor], owner: int) -> None:
    """Give all workers the values of worker `owner`."""
    tensors = list(values)
    flat = torch.cat([value.flatten() for value in tensors])
    distributed.broadcast(flat, owner)
    _fill(tensors, flat)


def _fill(tensors: list[Tensor], flat: Tensor) -> None:
    """Copy into the tensors what `flat` holds of them, one after the other."""
    for value, part in zip(tensors, flat.split([value.numel() for value in tensors]), strict=True):
        value.copy_(part.view_as(value))
