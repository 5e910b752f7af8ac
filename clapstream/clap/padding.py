"""Pads batches of features in time, as the feature extractors for sequences of transformers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import require_count, require_one_of, round_up
from clapstream.clap.batch import BatchFeature, check_return_tensors, collate

PADDINGS = (True, "longest", "max_length", False, "do_not_pad")
Row = dict[str, NDArray[Any]]


def pad_features(
    processed_features: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    main: str,
    *,
    padding: bool | str,
    max_length: int | None,
    truncation: bool,
    pad_to_multiple_of: int | None,
    return_attention_mask: bool,
    return_tensors: str | None,
    side: str,
    value: float,
) -> BatchFeature:
    """Rows of one length, as in `ClapFeatureExtractor.pad`; `main` is the entry that is padded, `(length, ...)`."""
    require_one_of("padding", padding, PADDINGS)
    check_return_tensors(return_tensors)
    require_one_of("padding_side", side, ("right", "left"))
    columns = collate("processed_features", processed_features, main)
    check_rows(columns)
    if len(columns[main]) == 0:
        return BatchFeature({**columns, **({"attention_mask": []} if return_attention_mask else {})})
    if return_tensors is None:
        return_tensors = "pt" if isinstance(columns[main][0], Tensor) else "np"
    rows = as_rows(columns)
    limit = None if max_length is None else round_up(require_count("max_length", max_length), pad_to_multiple_of)
    if limit is None and (truncation or padding == "max_length"):
        raise ValueError(f"{'truncation' if truncation else 'padding'} to max_length needs a max_length")
    for row in rows:
        if truncation:
            row.update({name: row[name][:limit] for name in (main, "attention_mask") if name in row})
        if return_attention_mask and "attention_mask" not in row:
            row["attention_mask"] = np.ones(len(row[main]), np.int32)
    if padding not in (False, "do_not_pad"):
        longest = max(len(row[main]) for row in rows)
        width = limit if padding == "max_length" else round_up(longest, pad_to_multiple_of)
        assert width is not None
        for row in rows:
            row[main] = lengthen(row[main], width, side, value)
            if "attention_mask" in row and return_attention_mask:
                row["attention_mask"] = lengthen(row["attention_mask"], width, side, 0)
    single = {name: [narrowed(row[name]) for row in rows] for name in rows[0]}
    return BatchFeature(single, tensor_type=return_tensors)


def check_rows(columns: Mapping[str, Any]) -> None:
    """Raise ValueError for entries with different numbers of rows."""
    numbers = {name: len(value) for name, value in columns.items()}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"processed_features has entries with different numbers of rows: {numbers}")


def as_rows(columns: Mapping[str, Any]) -> list[Row]:
    """One mapping for each row of the batch, with arrays for its entries."""
    number = len(next(iter(columns.values())))
    return [{name: as_array(value[row]) for name, value in columns.items()} for row in range(number)]


def as_array(value: Any) -> NDArray[Any]:
    """A tensor, list or number as an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def lengthen(array: NDArray[Any], width: int, side: str, value: float) -> NDArray[Any]:
    """An array with its first axis filled up to `width`."""
    missing = max(0, width - len(array))
    first = (0, missing) if side == "right" else (missing, 0)
    return np.pad(array, [first] + [(0, 0)] * (array.ndim - 1), constant_values=value)


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Double precision as single, which is what models read."""
    return array.astype(np.float32) if array.dtype == np.float64 else array
