"""Checks of what the towers are called with; none while a graph is recorded, which would fix sizes of the batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from clapstream.clap.tracing import is_tracing


def check_tensor(name: str, value: object, axes: tuple[str, ...]) -> None:
    """Raise TypeError or ValueError, naming the argument and its axes, unless it is a tensor with those axes."""
    if is_tracing():
        return
    expected = f"{name} must be a tensor ({', '.join(axes)})"
    if not isinstance(value, Tensor):
        hint = "; give its entries by name: model(**batch)" if isinstance(value, Mapping) else ""
        raise TypeError(f"{expected}, not {type(value).__name__}{hint}")
    if value.ndim != len(axes):
        raise ValueError(f"{expected}, not {tuple(value.shape)}")


def check_features(features: object) -> None:
    """Raise TypeError or ValueError unless it is a batch of spectrograms."""
    check_tensor("input_features", features, ("batch", "views", "frames", "mels"))


def check_ids(input_ids: object) -> None:
    """Raise TypeError or ValueError unless it is a batch of token ids or None."""
    if input_ids is not None:
        check_tensor("input_ids", input_ids, ("batch", "tokens"))


def check_is_longer(is_longer: Tensor, images: Tensor) -> None:
    """Raise TypeError or ValueError unless `is_longer` has one mark for each row of `images`."""
    if is_tracing():
        return
    if not isinstance(is_longer, Tensor):
        raise TypeError(f"is_longer must be a tensor (batch, 1), not {type(is_longer).__name__}")
    if is_longer.numel() != len(images):
        raise ValueError(f"is_longer has {is_longer.numel()} marks for {len(images)} sounds; it must be (batch, 1)")
