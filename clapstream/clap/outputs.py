"""What the models return: Hugging Face's field names, readable as attributes, by key and by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


class ModelOutput:
    """Reads like an object, a mapping and a tuple; the last two leave out fields that are None."""

    def keys(self) -> tuple[str, ...]:
        """Names of the fields that have a value, in order."""
        return tuple(
            field.name
            for field in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if getattr(self, field.name) is not None
        )

    def values(self) -> tuple[Any, ...]:
        """Values of the fields that have one, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Names with values, in order."""
        return tuple(zip(self.keys(), self.values(), strict=True))

    def to_tuple(self) -> tuple[Any, ...]:
        """The values without those that are None; outputs inside an output become tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.values()[key]
        if key not in self.keys():
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


@dataclass(frozen=True, eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """A tower's output.

    `last_hidden_state` is `(batch, tokens, hidden)` for text and `(batch, hidden, height, width)` for audio,
    `pooler_output` `(batch, hidden)`; `hidden_states` is the embeddings and each layer's output.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class ClapTextModelOutput(ModelOutput):
    """The text tower's output with its projection: `text_embeds` is `(batch, projection_dim)`, not normalised."""

    text_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class ClapAudioModelOutput(ModelOutput):
    """The audio tower's output with its projection: `audio_embeds` is `(batch, projection_dim)`, not normalised."""

    audio_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(frozen=True, eq=False)
class ClapOutput(ModelOutput):
    """Output of the whole model.

    `logits_per_audio` is `(audios, texts)`, `logits_per_text` `(texts, audios)`, the embeddings have unit length.
    """

    loss: Tensor | None = None
    logits_per_audio: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_embeds: Tensor | None = None
    audio_embeds: Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    audio_model_output: BaseModelOutputWithPooling | None = None
