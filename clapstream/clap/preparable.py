"""Models that can be prepared for inference, and what they refuse from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import Tensor, nn


class InferenceOnlyError(RuntimeError):
    """A model prepared for inference was asked for something that only a plain one can do."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: this model was prepared for inference and its weights are packed; load it again, or take a "
            "copy (copy.deepcopy) before prepare_for_inference()"
        )


class PreparedModule(nn.Module):
    """What has taken a plain module's place in a model that was prepared for inference."""

    packed_numbers = 0
    """How many numbers the parameters held that were packed here."""

    example: Tensor
    """An empty tensor on the device and in the precision that it was prepared for."""


class Preparable(nn.Module):
    """A model that can be prepared for inference, once and for good."""

    was_prepared = False
    """Whether it, or a model that it is part of, was prepared for inference, even if nothing in it is packed."""

    @property
    def is_prepared_for_inference(self) -> bool:
        """Whether it, a model that it is part of, or any part of it was prepared."""
        return self.was_prepared or any(isinstance(module, PreparedModule) for module in self.modules())

    def prepare_for_inference(self) -> Self:
        """Pack the weights and take the fast paths, in place; the same numbers, for inference only.

        Choose device and precision before. Afterwards the model refuses, with an InferenceOnlyError, training,
        gradients, other weights, another device or precision, compilation and export. Parameters that were packed
        are no longer the model's, and whoever still holds them finds them empty. Copies, pickles, `state_dict` and
        `save_pretrained` work; the latter two give the original weights. A layer with hooks, an adapter or a
        parametrization is left as it is and called as before; hooks that are added later see the audio tower's
        tokens in the order of windows.

        Raises:
            ValueError: the model is on the device "meta" and has no weights yet.
        """
        from clapstream.clap.prepared.prepare import prepare  # which imports the models, and they this module

        if not self.was_prepared:
            prepare(self)
            self.was_prepared = True
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; InferenceOnlyError for training a model prepared for inference."""
        if mode and self.is_prepared_for_inference:
            raise InferenceOnlyError("cannot train")
        return super().train(mode)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As in `torch.nn.Module`; InferenceOnlyError for gradients of a model prepared for inference."""
        if requires_grad and self.is_prepared_for_inference:
            raise InferenceOnlyError("cannot train")
        return super().requires_grad_(requires_grad)

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        """As in `torch.nn.Module`; InferenceOnlyError for a model prepared for inference."""
        if self.is_prepared_for_inference:
            raise InferenceOnlyError("cannot load weights")
        return super().load_state_dict(state_dict, *arguments, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        prepared = next((module for module in self.modules() if isinstance(module, PreparedModule)), None)
        if prepared is None:
            return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]
        refuse_conversion(fn, prepared.example)
        return self


def refuse_conversion(fn: Callable[[Tensor], Tensor], example: Tensor) -> None:
    """Raise InferenceOnlyError for a conversion (as `nn.Module.to` makes it) that is one for the example tensor."""
    converted = fn(example)
    if (converted.device, converted.dtype) != (example.device, example.dtype):
        raise InferenceOnlyError(f"cannot convert to {converted.dtype} on {converted.device}")
