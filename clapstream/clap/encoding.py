"""Truncates, pads and packs token ids, without the state that the `tokenizers` library keeps for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Encoding

from clapstream.clap.arguments import require_one_of, round_up
from clapstream.clap.batch import BatchFeature, check_return_tensors, collate

PADDINGS = (False, "do_not_pad", True, "longest", "max_length")
TRUNCATIONS = (False, "do_not_truncate", True, "longest_first", "only_first", "only_second")
UNLIMITED = int(1e30)
"""`model_max_length` of a tokenizer that has none, as in transformers."""


class Row(NamedTuple):
    """What a text, or a pair, was encoded to; `parts` are the texts without special tokens if they were cut."""

    encoding: Encoding
    parts: tuple[Encoding, ...] = ()

    def column(self, name: str) -> list[Any]:
        """One of the lists that a batch has, by its name there."""
        if name == "offset_mapping" and self.parts:  # the library would trim their spaces a second time
            offsets = (offset for part in self.parts for offset in part.offsets)
            return [(0, 0) if special else next(offsets) for special in self.encoding.special_tokens_mask]
        attribute = {"input_ids": "ids", "token_type_ids": "type_ids", "offset_mapping": "offsets"}.get(name, name)
        return list(getattr(self.encoding, attribute))


def truncate(parts: Sequence[Encoding], room: int, strategy: bool | str, side: str) -> None:
    """Cut a text, or a pair of them, to `room` tokens in place; `strategy` is one of `TRUNCATIONS`.

    Raises:
        ValueError: the text that is to be cut is too short for that.
    """
    lengths = [len(part) for part in parts]
    excess = sum(lengths) - room
    if strategy in ("only_first", "only_second"):
        chosen = 0 if strategy == "only_first" else 1
        if chosen >= len(parts) or lengths[chosen] < excess:
            raise ValueError(f"truncation={strategy!r}: there is too little of that text to make room")
        lengths[chosen] -= excess
    elif len(parts) == 1:
        lengths = [room]
    else:
        lengths = longest_first(lengths[0], lengths[1], room)
    for part, length in zip(parts, lengths, strict=True):
        if len(part) > length:
            part.truncate(length, direction=side)


def longest_first(first: int, second: int, room: int) -> list[int]:
    """Lengths of two texts after cutting the longer one until both fit, as in the `tokenizers` library."""
    shorter, longer = sorted((first, second))
    longer = shorter if shorter > room else max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = shorter + room % 2
    return [shorter, longer] if first <= second else [longer, shorter]


def padded_width(lengths: Sequence[int], padding: bool | str, longest: int, multiple: int | None) -> int | None:
    """How many tokens each row gets, or None where rows keep their own length."""
    if padding in (False, "do_not_pad") or not lengths:
        return None
    if padding == "max_length":
        if longest >= UNLIMITED:
            raise ValueError("padding to max_length needs a max_length; this tokenizer has none of its own")
        width = longest
    else:
        width = max(lengths)
    return round_up(width, multiple)


def pack(rows: list[Any], return_tensors: str | None, single: bool) -> Any:
    """Rows of equal length as a tensor or array `(batch, tokens)`, or as lists (one list for a single text)."""
    if return_tensors is None:
        return rows[0] if single else rows
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError("texts of different lengths cannot form a tensor; set padding=True")
    array = np.array(rows, dtype=np.int64) if any(lengths) else np.zeros((len(rows), 0), np.int64)
    return torch.from_numpy(array) if return_tensors == "pt" else array


def pad_ids(
    encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    fill: Mapping[str, int],
    *,
    padding: bool | str,
    longest: int,
    multiple: int | None,
    with_mask: bool,
    return_tensors: str | None,
    side: str,
) -> BatchFeature:
    """Rows of token ids that were encoded one by one as one batch; `fill` is what pads each entry.

    Raises:
        TypeError: `encoded_inputs` is neither a mapping nor a list of mappings.
        ValueError: there are no `input_ids`.
    """
    require_one_of("padding", padding, PADDINGS)
    check_return_tensors(return_tensors)
    entries = collate("encoded_inputs", encoded_inputs, "input_ids")
    columns = {name: [as_ids(row) for row in nested(value)] for name, value in entries.items()}
    single = bool(len(entries["input_ids"])) and np.ndim(entries["input_ids"][0]) == 0
    lengths = [len(row) for row in columns["input_ids"]]
    if with_mask:
        columns.setdefault("attention_mask", [[1] * length for length in lengths])
    width = padded_width(lengths, padding, longest, multiple)
    if width is not None:
        for name, value in fill.items():
            columns.update(
                {name: [filled(row, width, value, side) for row in columns[name]]} if name in columns else {}
            )
    return BatchFeature({name: pack(rows, return_tensors, single) for name, rows in columns.items()})


def nested(value: Any) -> Sequence[Any]:
    """The rows of an entry, which may be one row."""
    return [value] if len(value) and np.ndim(value[0]) == 0 else value


def as_ids(row: Any) -> list[int]:
    """A row of ids, an array or a tensor, as a list."""
    return row.tolist() if hasattr(row, "tolist") else list(row)


def filled(row: list[int], width: int, value: int, side: str) -> list[int]:
    """A row with as many values added on one side as it lacks."""
    missing = [value] * (width - len(row))
    return row + missing if side == "right" else missing + row
