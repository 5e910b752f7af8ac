"""Texts to batches of token ids and back, on the `tokenizers` library, with Hugging Face's argument names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, models
from torch import Tensor

from clapstream.clap.features import BatchFeature
from clapstream.clap.hub import CheckpointSource, SourceOptions, write_json, write_whole
from clapstream.clap.vocabulary import ROLES, SETTINGS_NAME, TOKENIZER_NAME, content, read_vocabulary

PADDINGS = (False, "do_not_pad", True, "longest", "max_length")
TRUNCATIONS = (False, "do_not_truncate", True, "longest_first", "only_first")
UNLIMITED = int(1e30)
"""`model_max_length` of a tokenizer that has none, as in transformers."""

Ids = Sequence[int] | NDArray[np.integer[Any]] | Tensor

CLEANED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")
"""What loses its space when `clean_up_tokenization_spaces` is asked for."""


class ClapTokenizer:
    """Turns texts into batches of token ids; `settings` are the entries of `tokenizer_config.json`.

    Calls share no state, so that threads may share a tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None) -> None:
        settings = dict(settings or {})
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.backend = tokenizer
        self.settings = settings
        self.model_max_length = int(settings.get("model_max_length") or UNLIMITED)
        self.model_input_names = tuple(settings.get("model_input_names", ("input_ids", "attention_mask")))
        self.padding_side = settings.get("padding_side", "right")
        self.truncation_side = settings.get("truncation_side", "right")
        self.special_tokens = {role: content(settings[role]) for role in ROLES if settings.get(role) is not None}

    def __len__(self) -> int:
        """Size of the vocabulary, special tokens included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @property
    def pad_token_id(self) -> int:
        """What fills a batch's shorter texts; ValueError if the tokenizer has no such token."""
        token = self.special_tokens.get("pad_token")
        found = None if token is None else self.backend.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no padding token (pad_token is {token!r})")
        return found

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        add_special_tokens: bool = True,
        return_attention_mask: bool | None = None,
        return_token_type_ids: bool | None = None,
    ) -> BatchFeature:
        """Token ids of one text `(tokens,)` or of several `(batch, tokens)`, with their `attention_mask`.

        `padding` is True or "longest", "max_length" or False; `truncation` True or False. Both count special tokens
        and go to `max_length`, by default the model's. `return_tensors` is "pt", "np" or None for lists; tensors of
        one text have a batch axis too.

        Raises:
            ValueError: an argument outside its choices, or texts of different lengths for one tensor.
            TypeError: something that is no text.
        """
        check_choice("padding", padding, PADDINGS)
        check_choice("truncation", truncation or False, TRUNCATIONS)
        check_choice("return_tensors", return_tensors, (None, "np", "pt"))
        single = isinstance(text, str)
        texts = [text] if isinstance(text, str) else text
        for item in texts:
            if not isinstance(item, str):
                raise TypeError(f"texts must be strings, not {item!r} ({type(item).__name__})")
        longest = max_length or self.model_max_length
        cut = longest if truncation not in (None, False, "do_not_truncate") else None
        encodings = [self._encode(item, cut, add_special_tokens) for item in texts]
        width = padded_width(encodings, padding, longest, pad_to_multiple_of)
        if width is not None:
            self._pad(encodings, width)
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if wanted(return_token_type_ids, "token_type_ids", self.model_input_names):
            columns["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        if wanted(return_attention_mask, "attention_mask", self.model_input_names):
            columns["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        return BatchFeature({name: pack(rows, return_tensors, single) for name, rows in columns.items()})

    def _encode(self, text: str, cut: int | None, add_special_tokens: bool) -> Encoding:
        """One text, of at most `cut` tokens. The library's own truncation is a setting that threads would share."""
        encoding = self.backend.encode(text, add_special_tokens=False)
        if cut is not None:
            room = cut - (self.backend.num_special_tokens_to_add(is_pair=False) if add_special_tokens else 0)
            if room < 0:
                raise ValueError(f"max_length {cut} has no room for the special tokens")
            if len(encoding) > room:  # a model that names no length has a huge one, too large for the library
                encoding.truncate(room, direction=self.truncation_side)
        return self.backend.post_process(encoding, add_special_tokens=add_special_tokens)

    def _pad(self, encodings: Iterable[Encoding], width: int) -> None:
        for encoding in encodings:
            encoding.pad(
                width,
                direction=self.padding_side,
                pad_id=self.pad_token_id,
                pad_type_id=int(self.settings.get("pad_token_type_id", 0)),
                pad_token=self.special_tokens["pad_token"],
            )

    def decode(
        self, token_ids: int | Ids, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of one row of token ids."""
        ids = np.atleast_1d(np.asarray(token_ids)).tolist()
        text: str = self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        if clean_up_tokenization_spaces:
            for spaced in CLEANED:
                text = text.replace(spaced, spaced[1:])
        return text

    def batch_decode(
        self,
        sequences: Sequence[Ids] | NDArray[np.integer[Any]] | Tensor,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[str]:
        """The texts of several rows of token ids."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into a directory, which is made if it is missing."""
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / TOKENIZER_NAME, self.backend.to_str(pretty=True).encode())
        is_roberta = isinstance(self.backend.model, models.BPE)
        tokenizer_class = "RobertaTokenizerFast" if is_roberta else "PreTrainedTokenizerFast"
        write_json(directory / SETTINGS_NAME, {"tokenizer_class": tokenizer_class, **self.settings})

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], **options: Unpack[SourceOptions]
    ) -> Self:
        """Read a directory's, a hub id's or the "bundled" checkpoint's tokenizer.

        Raises:
            CheckpointError: there is none, or a file of it is damaged.
        """
        return cls.from_source(CheckpointSource(pretrained_model_name_or_path, **options))

    @classmethod
    def from_source(cls, source: CheckpointSource) -> Self:
        """As `from_pretrained`, from where `source` points to."""
        return cls(*read_vocabulary(source))


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError naming the argument and its choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def wanted(asked: bool | None, name: str, by_default: tuple[str, ...]) -> bool:
    """Whether a column goes into the batch."""
    return name in by_default if asked is None else asked


def padded_width(
    encodings: Sequence[Encoding], padding: bool | str, longest: int, multiple: int | None
) -> int | None:
    """How many tokens each row gets, or None where rows keep their own length."""
    if padding in (False, "do_not_pad") or not encodings:
        return None
    if padding == "max_length":
        if longest >= UNLIMITED:
            raise ValueError("padding to max_length needs a max_length; this tokenizer has none of its own")
        width = longest
    else:
        width = max(len(encoding.ids) for encoding in encodings)
    return width if multiple is None else -(-width // multiple) * multiple


def pack(rows: list[list[int]], return_tensors: str | None, single: bool) -> Any:
    """Rows of equal length as a tensor or array `(batch, tokens)`, or as lists (one list for a single text)."""
    if return_tensors is None:
        return rows[0] if single else rows
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError("texts of different lengths make no tensor; ask for padding=True")
    array = np.array(rows, dtype=np.int64).reshape(len(rows), max(lengths, default=0))
    return torch.from_numpy(array) if return_tensors == "pt" else array
