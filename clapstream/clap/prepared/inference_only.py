"""Modules that only infer: the base of all that takes a plain module's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self

import torch
from torch import Tensor

from clapstream.clap.preparable import InferenceOnlyError, PreparedModule, refuse_conversion
from clapstream.clap.tracing import is_tracing


class InferenceOnly(PreparedModule):
    """A module that refuses all that would change the weights of which it holds copies, with an InferenceOnlyError.

    It holds them in a form that could not follow a change, and serving the old ones silently would be wrong.
    """

    dissolved: ClassVar[frozenset[str]] = frozenset()
    """Attributes of the module it was made of that are gone."""

    def __getattr__(self, name: str) -> Any:
        if name in type(self).dissolved:
            raise AttributeError(str(InferenceOnlyError(f"{type(self).__name__} has no {name}")))
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).dissolved:
            raise InferenceOnlyError(f"cannot replace {name}")
        super().__setattr__(name, value)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode; InferenceOnlyError for training mode."""
        if mode:
            raise InferenceOnlyError("cannot train")
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Stay without gradients; InferenceOnlyError if they are asked for."""
        if requires_grad:
            raise InferenceOnlyError("cannot train")
        return super().requires_grad_(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        refuse_conversion(fn, self.example)
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> NoReturn:
        raise InferenceOnlyError("cannot load weights")

    def accept(self, inputs: Tensor) -> Tensor:
        """The inputs in the prepared precision.

        Raises:
            InferenceOnlyError: a gradient would have to flow back, or the module is compiled, traced or exported.
        """
        if is_tracing():
            raise InferenceOnlyError("cannot compile, trace or export")
        if torch.is_grad_enabled() and (inputs.requires_grad or any(p.requires_grad for p in self.parameters())):
            raise InferenceOnlyError("cannot compute gradients")
        return inputs.to(self.example.dtype)
