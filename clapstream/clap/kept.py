"""What is computed from parameters alone, kept as long as those stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Value = TypeVar("Value")


class Seen(NamedTuple):
    """A tensor, and how often PyTorch had seen it change in place."""

    tensor: Tensor
    version: int

    @classmethod
    def now(cls, tensor: Tensor) -> Seen:
        """Remember a tensor. It is held, so that no other can take its place in memory."""
        return cls(tensor.detach(), version(tensor))

    def is_still(self, tensor: Tensor) -> bool:
        """Whether this is that tensor, unchanged."""
        return (
            self.tensor.data_ptr() == tensor.data_ptr()
            and self.version == version(tensor)
            and self.tensor.dtype == tensor.dtype
            and self.tensor.device == tensor.device
        )


def version(tensor: Tensor) -> int:
    """How often PyTorch saw the tensor change in place; for inference tensors it does not count."""
    return 0 if tensor.is_inference() else tensor._version


class Kept(Generic[Value]):
    """Keeps what `build` makes of `sources` until one of those changes.

    Changes that PyTorch counts are noticed: an optimiser's step, `load_state_dict`, `to`, `copy_`. Writing through
    `.data` or into an inference tensor is not counted: call `forget` after that.
    """

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._value: Value | None = None

    def get(self, sources: Sequence[Tensor], build: Callable[[], Value]) -> Value:
        """The kept value, built anew if a source has changed."""
        if self._value is None or not all(map(Seen.is_still, self._seen, sources)):
            with torch.no_grad():
                self._value = build()
            self._seen = [Seen.now(source) for source in sources]
        return self._value

    def __reduce__(self) -> tuple[type[Kept[Value]], tuple[()]]:
        """A copy or a pickle of a model keeps nothing: its parameters are others."""
        return type(self), ()

    def forget(self) -> None:
        """Let go of everything, and build anew at the next use."""
        self._value = None
        self._seen = []
