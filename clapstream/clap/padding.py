"""Pads batches of features in time, as the feature extractors for sequences of transformers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import require_count, require_one_of
from clapstream.clap.batch import RETURN_TENSORS, BatchFeature

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
    require_one_of("return_tensors", return_tensors, RETURN_TENSORS)
    require_one_of("padding_side", side, ("right", "left"))
    columns = collate(processed_features, main)
    if len(columns[main]) == 0:
        return BatchFeature({**columns, **({"attention_mask": []} if return_attention_mask else {})})
    if return_tensors is None:
        return_tensors = "pt" if isinstance(columns[main][0], Tensor) else "np"
    rows = as_rows(columns)
    limit = rounded_up(max_length, pad_to_multiple_of)
    if limit is None and (truncation or padding == "max_length"):
        raise ValueError(f"{'truncation' if truncation else 'padding'} to max_length needs a max_length")
    for row in rows:
        if truncation:
            row.update({name: row[name][:limit] for name in (main, "attention_mask") if name in row})
        if return_attention_mask and "attention_mask" not in row:
            row["attention_mask"] = np.ones(len(row[main]), np.int32)
    if padding not in (False, "do_not_pad"):
        width = (
            limit
            if padding == "max_length"
            else rounded_up(max(len(row[main]) for row in rows), pad_to_multiple_of)
        )
        assert width is not None
        for row in rows:
            row[main] = lengthen(row[main], width, side, value)
            if "attention_mask" in row and return_attention_mask:
                row["attention_mask"] = lengthen(row["attention_mask"], width, side, 0)
    single = {name: [narrowed(row[name]) for row in rows] for name in rows[0]}
    return BatchFeature(single, tensor_type=return_tensors)


def collate(processed_features: Mapping[str, Any] | Sequence[Mapping[str, Any]], main: str) -> dict[str, Any]:
    """A list of mappings as one mapping of lists.

    Raises:
        TypeError: it is neither.
        ValueError: `main` is missing, or the entries have different numbers of rows.
    """
    if isinstance(processed_features, (list, tuple)) and all(
        isinstance(row, Mapping) for row in processed_features
    ):
        names = processed_features[0].keys() if processed_features else ()
        processed_features = {name: [row[name] for row in processed_features] for name in names}
    if not isinstance(processed_features, Mapping):
        raise TypeError(
            f"processed_features must be a mapping or a list of mappings, not {type(processed_features).__name__}"
        )
    if main not in processed_features:
        raise ValueError(f"processed_features has no {main}, only {', '.join(processed_features) or 'nothing'}")
    numbers = {name: len(value) for name, value in processed_features.items()}
    if len(set(numbers.values())) > 1:
        raise ValueError(f"processed_features has entries with different numbers of rows: {numbers}")
    return dict(processed_features)


def as_rows(columns: Mapping[str, Any]) -> list[Row]:
    """One mapping for each row of the batch, with arrays for its entries."""
    number = len(next(iter(columns.values())))
    return [{name: as_array(value[row]) for name, value in columns.items()} for row in range(number)]


def as_array(value: Any) -> NDArray[Any]:
    """A tensor, list or number as an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def rounded_up(length: int | None, multiple: int | None) -> int | None:
    """The next multiple of `multiple`, if there is one."""
    if length is not None:
        require_count("max_length", length)
    if length is None or multiple is None:
        return length
    return -(-length // require_count("pad_to_multiple_of", multiple)) * multiple


def lengthen(array: NDArray[Any], width: int, side: str, value: float) -> NDArray[Any]:
    """An array with its first axis filled up to `width`."""
    missing = max(0, width - len(array))
    first = (0, missing) if side == "right" else (missing, 0)
    return np.pad(array, [first] + [(0, 0)] * (array.ndim - 1), constant_values=value)


def narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Double precision as single, which is what models read."""
    return array.astype(np.float32) if array.dtype == np.float64 else array
