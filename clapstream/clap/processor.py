"""Texts and sounds to what the model reads, in one call."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import refuse_unknown
from clapstream.clap.batch import BatchFeature
from clapstream.clap.extractor_settings import PADDINGS, TRUNCATIONS
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointSource, split_options
from clapstream.clap.sounds import Clip
from clapstream.clap.token_table import Ids
from clapstream.clap.tokenizer import REFUSED, WITHOUT_EFFECT, ClapTokenizer
from clapstream.clap.vocabulary import ROLES

SOUND_ARGUMENTS = ("device", "generator", "seed")
TEXT_ARGUMENTS = (*inspect.signature(ClapTokenizer.__call__).parameters, *REFUSED, *WITHOUT_EFFECT)
SHARED_ARGUMENTS = ("padding", "truncation", "max_length")
TEXT_SETTINGS = (
    *ROLES,
    *("model_max_length", "padding_side", "truncation_side", "add_prefix_space", "clean_up_tokenization_spaces"),
    *("use_fast", "from_slow"),
)
"""What of `from_pretrained`'s settings is the tokenizer's; the rest is the feature extractor's."""


class ClapProcessor:
    """A feature extractor for sounds and a tokenizer for texts.

    `padding`, `truncation` and `max_length` are the texts'. The reference hands them to both, so that
    `padding=True` for the texts silently replaces the sounds' `repeatpad`; here only values that make sense for
    sounds alone (`truncation="rand_trunc"`, `padding="repeat"`) go there; `audio_kwargs` does in any case. In a
    call without texts they are the sounds'.
    """

    def __init__(self, feature_extractor: ClapFeatureExtractor, tokenizer: ClapTokenizer) -> None:
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    @property
    def model_input_names(self) -> list[str]:
        """The arguments of the model that a call may fill in."""
        return list(dict.fromkeys([*self.tokenizer.model_input_names, *self.feature_extractor.model_input_names]))

    def __call__(
        self,
        text: str | Iterable[Any] | None = None,
        audios: Clip | Iterable[Clip] | None = None,
        return_tensors: str | None = None,
        *,
        audio: Clip | Iterable[Clip] | None = None,
        sampling_rate: int | None = None,
        text_kwargs: Mapping[str, Any] | None = None,
        audio_kwargs: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> BatchFeature:
        """Token ids of the texts and spectrograms of the sounds, whichever are given.

        `audio` is the newer name of `audios`; `sampling_rate` is theirs, in hertz. Further arguments are those of
        `ClapTokenizer` and, for sounds, `device`, `generator` and `seed` of `ClapFeatureExtractor`.

        Raises:
            ValueError: neither texts nor sounds, both names for sounds, or what the two parts refuse.
            TypeError: an argument that neither part has.
        """
        if audio is not None and audios is not None:
            raise ValueError("audio and audios are two names for the sounds; give one")
        sounds = audios if audio is None else audio
        if text is None and sounds is None:
            raise ValueError("give text, audio or both")
        for_texts, for_sounds = split(arguments, with_texts=text is not None)
        batch = BatchFeature()
        if text is not None:
            for_texts = {"return_tensors": return_tensors, **for_texts, **(text_kwargs or {})}
            batch.update(self.tokenizer(text, **for_texts))
        if sounds is not None:
            for_sounds = {"sampling_rate": sampling_rate, "return_tensors": return_tensors, **for_sounds}
            batch.update(self.feature_extractor(sounds, **{**for_sounds, **(audio_kwargs or {})}))
        return batch

    def batch_decode(
        self, sequences: Sequence[Ids] | NDArray[np.integer[Any]] | Tensor, **arguments: Any
    ) -> list[str]:
        """As `ClapTokenizer.batch_decode`."""
        return self.tokenizer.batch_decode(sequences, **arguments)

    def decode(self, token_ids: int | Ids, **arguments: Any) -> str:
        """As `ClapTokenizer.decode`."""
        return self.tokenizer.decode(token_ids, **arguments)

    def save_pretrained(self, save_directory: str | PathLike[str]) -> list[str]:
        """Write both parts' files into a directory, which is made if it is missing; return their paths."""
        sounds = self.feature_extractor.save_pretrained(save_directory)
        return [*sounds, *self.tokenizer.save_pretrained(save_directory)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Self:
        """Read a directory's, a hub id's or the "bundled" checkpoint's feature extractor and tokenizer.

        `options` are those of `SourceOptions`; others are settings of either part to take instead of the files'.

        Raises:
            CheckpointError: a file is missing, damaged or has a value that is not allowed.
        """
        where, overrides = split_options(options)
        source = CheckpointSource(pretrained_model_name_or_path, **where)
        for_texts = {name: value for name, value in overrides.items() if name in TEXT_SETTINGS}
        for_sounds = {name: value for name, value in overrides.items() if name not in TEXT_SETTINGS}
        return cls(
            ClapFeatureExtractor.from_source(source, **for_sounds), ClapTokenizer.from_source(source, **for_texts)
        )


def split(arguments: Mapping[str, Any], *, with_texts: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a call's further arguments into those for texts and those for sounds; TypeError for unknown ones."""
    for_sounds = {
        name: value
        for name, value in arguments.items()
        if name in SOUND_ARGUMENTS
        or (name == "padding" and value in PADDINGS)
        or (name == "truncation" and value in TRUNCATIONS)
        or (name in SHARED_ARGUMENTS and not with_texts)
    }
    for_texts = {name: value for name, value in arguments.items() if name not in for_sounds}
    refuse_unknown(for_texts, TEXT_ARGUMENTS)
    if for_sounds.get("truncation") is True:  # what it means for texts; sounds are always cut
        del for_sounds["truncation"]
    return for_texts, for_sounds
