"""A tokenizer's single tokens, by name and by number: its vocabulary and its special tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from clapstream.clap.arguments import require_count
from clapstream.clap.vocabulary import ROLES, content

ORDER = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Roles in the order in which transformers lists them."""

Ids = Sequence[int] | NDArray[np.integer[Any]] | Tensor
Tokens = str | AddedToken | Iterable[str | AddedToken]

CLEANED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")
"""What loses its space when `clean_up_tokenization_spaces` is asked for."""


class TokenTable:
    """The part of a tokenizer that knows single tokens; `bos_token`, `bos_token_id` and so on are attributes."""

    backend: Tokenizer
    settings: dict[str, Any]
    special_tokens: dict[str, str]

    def __len__(self) -> int:
        """Size of the vocabulary, added tokens included: what `resize_token_embeddings` asks for."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def __getattr__(self, name: str) -> Any:
        if name in ROLES:
            return self.special_tokens.get(name)
        if name.removesuffix("_id") in ROLES:
            token = self.special_tokens.get(name.removesuffix("_id"))
            return None if token is None else self.backend.token_to_id(token)
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ROLES:
            self.add_special_tokens({name: value})
        else:
            super().__setattr__(name, value)

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary without added tokens."""
        return self.backend.get_vocab_size(with_added_tokens=False)

    @property
    def vocab(self) -> dict[str, int]:
        """As `get_vocab`."""
        return self.get_vocab()

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """Each role's token."""
        return {role: self.special_tokens[role] for role in ORDER if role in self.special_tokens}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, each once."""
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> list[int]:
        """Numbers of the special tokens."""
        numbers = (self.backend.token_to_id(token) for token in self.all_special_tokens)
        return [number for number in numbers if number is not None]

    def get_vocab(self) -> dict[str, int]:
        """Every token, added ones included, and its number."""
        return self.backend.get_vocab(with_added_tokens=True)

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens that were added to the model's own, special ones included."""
        return {token.content: number for number, token in self.backend.get_added_tokens_decoder().items()}

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int | None] | None:
        """Numbers of tokens; that of the unknown token, or None without one, for what is not in the vocabulary."""
        if isinstance(tokens, str):
            found = self.backend.token_to_id(tokens)
            unknown: int | None = self.unk_token_id
            return unknown if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]  # type: ignore[misc]  # each is a str

    def convert_ids_to_tokens(
        self, ids: int | Iterable[int], skip_special_tokens: bool = False
    ) -> str | list[str | None] | None:
        """The tokens of numbers; None for a number beyond the vocabulary."""
        if not isinstance(ids, Iterable) or getattr(ids, "ndim", 1) == 0:
            number: Any = ids
            return self.backend.id_to_token(require_count("ids", int(number), least=0))
        numbers = [require_count("ids", int(each), least=0) for each in ids]
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend.id_to_token(number) for number in numbers if number not in skipped]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """The text that a row of tokens stands for."""
        decoder = self.backend.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(list(tokens))

    def decode(
        self, token_ids: int | Ids, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of one row of token ids; TypeError or ValueError for anything else."""
        ids = np.atleast_1d(np.asarray(token_ids.cpu() if isinstance(token_ids, Tensor) else token_ids))
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise TypeError("token_ids must be one row of whole numbers; batch_decode takes several rows")
        if ids.size and ids.min() < 0:
            raise ValueError(f"token_ids must not be negative, as {int(ids.min())} is")
        text: str = self.backend.decode(ids.tolist(), skip_special_tokens=skip_special_tokens)
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

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text, or a pair of texts, gets."""
        return self.backend.num_special_tokens_to_add(is_pair=pair)

    def get_special_tokens_mask(
        self, token_ids_0: Iterable[int], token_ids_1: None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens and 0 for others, of ids that have theirs already, as in transformers 5."""
        if not already_has_special_tokens or token_ids_1 is not None:
            raise ValueError("get_special_tokens_mask needs already_has_special_tokens=True and one row of ids")
        special = set(self.all_special_ids)
        return [int(int(number) in special) for number in token_ids_0]

    def add_tokens(self, new_tokens: Tokens, special_tokens: bool = False) -> int:
        """Add tokens to the vocabulary; how many of them it did not have.

        A model needs `resize_token_embeddings(len(tokenizer))` after that.
        """
        tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens)
        if special_tokens:
            return self.backend.add_special_tokens(tokens)
        return self.backend.add_tokens(tokens)

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any]) -> int:
        """Give roles (`pad_token` and so on) to tokens, new ones if need be; how many of them are new.

        Raises:
            ValueError: an unknown role.
        """
        added = 0
        for role, token in special_tokens_dict.items():
            if role not in ROLES:
                raise ValueError(f"special_tokens_dict: {role!r} is none of {', '.join(ROLES)}")
            if token is None:
                self.special_tokens.pop(role, None)
                self.settings.pop(role, None)
                continue
            token = content(token) if isinstance(token, dict) else str(getattr(token, "content", token))
            added += self.add_tokens(AddedToken(token, normalized=False), special_tokens=True)
            self.special_tokens[role] = self.settings[role] = token
        return added
