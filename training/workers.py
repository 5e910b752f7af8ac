"""Processes of one thread each that train one model together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

COUNT = 2
"""Workers unless told otherwise: one a processor core."""


def in_workers(work: Callable[..., None], workers: int, *arguments: object) -> None:
    """Run `work(worker, *arguments)` in communicating processes; a single worker runs in this process."""
    if workers == 1:
        work(0, *arguments)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_join, (workers, port, work, arguments), workers)  # type: ignore[no-untyped-call]


def _join(worker: int, workers: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=worker, world_size=workers)
    work(worker, *arguments)
    distributed.destroy_process_group()


def count() -> int:
    """How many workers train together; 1 in a process that is none of several."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def agreed(done: float) -> float:
    """The first worker's share of the time spent, so that all take the same steps."""
    if count() == 1:
        return done
    value = torch.tensor(done)
    distributed.broadcast(value, 0)
    return float(value)


def average_gradients(model: nn.Module) -> None:
    """Replace each gradient by the mean over the workers."""
    if count() == 1:
        return
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    _fill(gradients, flat / count())


@torch.no_grad()
def send(values: Iterable[Tensor], owner: int) -> None:
    """Give all workers the values of worker `owner`."""
    if count() == 1:
        return
    tensors = list(values)
    flat = torch.cat([value.flatten() for value in tensors])
    distributed.broadcast(flat, owner)
    _fill(tensors, flat)


def _fill(tensors: list[Tensor], flat: Tensor) -> None:
    """Copy into the tensors what `flat` holds of them, one after the other."""
    for value, part in zip(tensors, torch.split(flat, [value.numel() for value in tensors]), strict=True):
        value.copy_(part.view_as(value))
