"""What the feature extractor, the tokenizer and the processor return: a mapping to call a model with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import require_one_of

RETURN_TENSORS = (None, "np", "pt")
DESTINATIONS = (str, int, torch.device, torch.dtype, Tensor, type(None))


class BatchFeature(dict[str, Any]):
    """A mapping whose entries are readable as attributes too; `tensor_type` ("np" or "pt") converts them."""

    def __init__(
        self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None, **entries: Any
    ) -> None:
        super().__init__(data or {}, **entries)
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    @property
    def data(self) -> dict[str, Any]:
        """The mapping itself, as in transformers, where it is kept apart."""
        return self

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """Make arrays ("np") or tensors ("pt") of the entries, in place; None changes nothing.

        Raises:
            ValueError: an entry whose rows differ in length, for tensors.
        """
        require_one_of("tensor_type", tensor_type, RETURN_TENSORS)
        if tensor_type is not None:
            for name, value in self.items():
                self[name] = convert(name, value, tensor_type)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the tensors, and convert the floating-point ones, in place; arguments as of `torch.Tensor.to`.

        Other entries stay as they are.
        """
        if args and (isinstance(args[0], bool) or not isinstance(args[0], DESTINATIONS)):
            raise TypeError(f"to takes a device, a dtype or both, not {args[0]!r}")
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
        for name, value in self.items():
            if isinstance(value, Tensor):
                self[name] = value.to(device, dtype if value.is_floating_point() else None, non_blocking)
        return self


def check_return_tensors(value: str | None) -> None:
    """Raise ValueError for a `return_tensors` that is none of "pt", "np" and None."""
    require_one_of("return_tensors", value, RETURN_TENSORS)


def collate(argument: str, entries: Mapping[str, Any] | Sequence[Mapping[str, Any]], main: str) -> dict[str, Any]:
    """A mapping of lists, or a list of mappings made one; `argument` is what messages call it.

    Raises:
        TypeError: it is neither.
        ValueError: the entry `main` is missing.
    """
    if not isinstance(entries, Mapping):
        rows = list(entries) if isinstance(entries, Iterable) else [entries]
        if not all(isinstance(row, Mapping) for row in rows):
            raise TypeError(f"{argument} must be a mapping or a list of mappings, not {type(entries).__name__}")
        entries = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    if main not in entries:
        raise ValueError(f"{argument} has no {main}, only {', '.join(entries) or 'nothing'}")
    return dict(entries)


def convert(name: str, value: Any, tensor_type: str) -> Any:
    """One entry as an array or a tensor; ValueError naming it if its rows differ in length."""
    if isinstance(value, Tensor):
        return value if tensor_type == "pt" else value.detach().cpu().numpy()
    try:
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
            stacked = torch.stack(list(value))
            return stacked if tensor_type == "pt" else stacked.detach().cpu().numpy()
        array = as_ragged(value) if tensor_type == "np" and is_ragged(value) else np.asarray(value)
        return array if tensor_type == "np" else torch.from_numpy(array)
    except (ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{name}: rows of different lengths cannot form a tensor; pad them ({error})") from error


def is_ragged(value: Any) -> bool:
    """Whether this is a list of rows of different lengths."""
    return isinstance(value, (list, tuple)) and len({len(row) for row in value if hasattr(row, "__len__")}) > 1


def as_ragged(rows: Sequence[Any]) -> NDArray[np.object_]:
    """An array of arrays `(rows,)`, which is what transformers makes of rows of different lengths."""
    array = np.empty(len(rows), dtype=object)
    array[:] = [np.asarray(row) for row in rows]
    return array
