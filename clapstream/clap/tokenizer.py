"""Texts to batches of token ids and back, on the `tokenizers` library, with Hugging Face's argument names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

from tokenizers import Encoding, Tokenizer

from clapstream.clap.arguments import count_or, refuse_by_name, refuse_unknown, require_one_of
from clapstream.clap.batch import BatchFeature, check_return_tensors
from clapstream.clap.encoding import PADDINGS, TRUNCATIONS, UNLIMITED, Row, pack, pad_ids, padded_width, truncate
from clapstream.clap.hub import CheckpointSource, split_options
from clapstream.clap.texts import Input, read_texts
from clapstream.clap.token_table import TokenTable
from clapstream.clap.vocabulary import ROLES, content, read_vocabulary, write_vocabulary

REFUSED = {
    "return_overflowing_tokens": "a text longer than the model reads is cut, not continued in further rows",
    "stride": "goes with return_overflowing_tokens, which is not supported",
    "text_target": "CLAP reads texts and writes none",
    "text_pair_target": "CLAP reads texts and writes none",
}
"""Arguments of transformers that are not supported, and why."""

WITHOUT_EFFECT = ("verbose", "split_special_tokens")


class ClapTokenizer(TokenTable):
    """Turns texts into batches of token ids; `settings` are the entries of `tokenizer_config.json`.

    Calls share no state, so that threads may share a tokenizer.
    """

    is_fast = True
    name_or_path = ""

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None) -> None:
        settings = dict(settings or {})
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.backend = tokenizer
        self.settings = settings
        self.special_tokens = {role: content(settings[role]) for role in ROLES if settings.get(role) is not None}
        self.model_max_length = int(settings.get("model_max_length") or UNLIMITED)
        self.model_input_names = list(settings.get("model_input_names", ("input_ids", "attention_mask")))
        self.padding_side = settings.get("padding_side", "right")
        self.truncation_side = settings.get("truncation_side", "right")

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers` library's own object."""
        return self.backend

    def __call__(
        self,
        text: str | Iterable[Any],
        text_pair: str | Iterable[Any] | None = None,
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        is_split_into_words: bool = False,
        return_tensors: str | None = None,
        add_special_tokens: bool = True,
        return_attention_mask: bool | None = None,
        return_token_type_ids: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        **others: Any,
    ) -> BatchFeature:
        """Token ids of one text `(tokens,)` or of several `(batch, tokens)`, with their `attention_mask`.

        `text_pair` is a second text for each. `padding` is True or "longest", "max_length" or False; `truncation`
        True or "longest_first", "only_first", "only_second" or False. Both count special tokens and go to
        `max_length`, by default the model's. `return_tensors` is "pt", "np" or None for lists; tensors of one text
        have a batch axis too.

        Raises:
            ValueError: an argument outside its choices, or texts of different lengths for one tensor.
            TypeError: something that is not text, or an argument that has no meaning here.
        """
        refuse_others(others)
        require_one_of("padding", padding, PADDINGS)
        require_one_of("truncation", truncation or False, TRUNCATIONS)
        check_return_tensors(return_tensors)
        require_one_of("padding_side", self.padding_side, ("right", "left"))
        rows, single = read_texts(text, text_pair, is_split_into_words=is_split_into_words)
        longest = count_or("max_length", max_length, self.model_max_length)
        strategy = False if truncation in (None, "do_not_truncate") else truncation
        encoded = [self._encode(*row, longest, strategy or False, add_special_tokens) for row in rows]
        width = padded_width([len(row.encoding) for row in encoded], padding, longest, pad_to_multiple_of)
        if width is not None:
            self._pad([row.encoding for row in encoded], width)
        wanted = {
            "input_ids": True,
            "token_type_ids": self._wants("token_type_ids", return_token_type_ids),
            "attention_mask": self._wants("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        columns = {
            name: pack([row.column(name) for row in encoded], return_tensors, single)
            for name, asked in wanted.items()
            if asked
        }
        if return_length:
            columns["length"] = [len(row.encoding) for row in encoded]
            columns = dict(BatchFeature(columns, tensor_type=return_tensors))
        return BatchFeature(columns)

    def _encode(
        self, first: Input, second: Input | None, longest: int, truncation: bool | str, add_special_tokens: bool
    ) -> Row:
        """One text, or a pair. The library's own truncation is a setting that threads would share."""
        split = not isinstance(first, str)
        whole = self.backend.encode(first, second, is_pretokenized=split, add_special_tokens=add_special_tokens)
        if not truncation or len(whole) <= longest:
            return Row(whole)
        added = self.num_special_tokens_to_add(second is not None) if add_special_tokens else 0
        if longest < added:
            raise ValueError(f"max_length {longest} has no room for the special tokens")
        parts = [
            self.backend.encode(part, is_pretokenized=split, add_special_tokens=False)
            for part in (first, second)
            if part is not None
        ]
        truncate(parts, longest - added, truncation, self.truncation_side)
        pair = parts[1] if len(parts) > 1 else None
        return Row(self.backend.post_process(parts[0], pair, add_special_tokens), tuple(parts))

    def _pad(self, encodings: Iterable[Encoding], width: int) -> None:
        for encoding in encodings:
            encoding.pad(
                width,
                direction=self.padding_side,
                pad_id=self._padding_id(),
                pad_type_id=int(self.settings.get("pad_token_type_id", 0)),
                pad_token=self.special_tokens["pad_token"],
            )

    def _padding_id(self) -> int:
        """What fills a batch's shorter texts; ValueError if the tokenizer has no such token."""
        found: int | None = self.pad_token_id
        if found is None:
            raise ValueError(f"the tokenizer has no padding token (pad_token is {self.pad_token!r})")
        return found

    def _wants(self, name: str, asked: bool | None) -> bool:
        """Whether a column goes into the batch."""
        return name in self.model_input_names if asked is None else asked

    def encode(self, text: str | Sequence[str], text_pair: Any = None, **arguments: Any) -> Any:
        """The `input_ids` of one text, with the arguments of a call."""
        return self(text, text_pair, **arguments)["input_ids"]

    def encode_plus(self, text: str | Sequence[str], text_pair: Any = None, **arguments: Any) -> BatchFeature:
        """A call with one text, by its name in transformers 4."""
        return self(text, text_pair, **arguments)

    def batch_encode_plus(self, batch_text_or_text_pairs: Iterable[Any], **arguments: Any) -> BatchFeature:
        """A call with several texts or pairs of texts, by its name in transformers 4."""
        return self(batch_text_or_text_pairs, **arguments)

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """A text's tokens by name, without special ones unless asked for."""
        ((first, second),), _ = read_texts([text], None if pair is None else [pair])
        return self._encode(first, second, UNLIMITED, False, add_special_tokens).encoding.tokens

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """One batch of what was encoded text by text, as a data loader's collate function wants it.

        Raises:
            ValueError: there are no `input_ids`, or an argument is outside its choices.
        """
        return pad_ids(
            encoded_inputs,
            {
                "input_ids": self._padding_id(),
                "attention_mask": 0,
                "token_type_ids": int(self.settings.get("pad_token_type_id", 0)),
                "special_tokens_mask": 1,
            },
            padding=padding,
            longest=count_or("max_length", max_length, self.model_max_length),
            multiple=pad_to_multiple_of,
            with_mask=self._wants("attention_mask", return_attention_mask),
            return_tensors=return_tensors,
            side=self.padding_side,
        )

    def save_pretrained(self, save_directory: str | PathLike[str]) -> tuple[str, ...]:
        """Write `tokenizer.json` and `tokenizer_config.json` into a directory, which is made if it is missing."""
        return write_vocabulary(Path(save_directory), self.backend, self.settings)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Self:
        """Read a directory's, a hub id's or the "bundled" checkpoint's tokenizer.

        `options` are those of `SourceOptions`; others are settings to take instead of the file's.

        Raises:
            CheckpointError: there is none, or a file of it is damaged.
        """
        where, overrides = split_options(options)
        return cls.from_source(CheckpointSource(pretrained_model_name_or_path, **where), **overrides)

    @classmethod
    def from_source(cls, source: CheckpointSource, **overrides: Any) -> Self:
        """As `from_pretrained`, from where `source` points to."""
        overrides = {name: value for name, value in overrides.items() if name not in ("use_fast", "from_slow")}
        tokenizer = cls(*read_vocabulary(source, overrides))
        tokenizer.name_or_path = str(source.name)
        tokenizer.add_special_tokens({role: overrides[role] for role in ROLES if role in overrides})
        return tokenizer


def refuse_others(arguments: dict[str, Any]) -> None:
    """Raise TypeError for unsupported arguments, unless they are None or False, and for unknown ones."""
    refuse_unknown(arguments, (*REFUSED, *WITHOUT_EFFECT))
    refuse_by_name({name: value or None for name, value in arguments.items()}, REFUSED)
