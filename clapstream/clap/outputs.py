"""What the models return: Hugging Face's field names, readable as attributes, by key and by position."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from torch import Tensor
from torch.utils import _pytree as pytree


class ModelOutput(OrderedDict[str, Any]):
    """An ordered dictionary of the fields that are not None, which are attributes too.

    An integer or a slice reads `to_tuple()`. The keys are fixed: fields can be set, but not deleted or added.
    Tensors inside are found by everything that walks PyTorch's trees: export, compilation, `vmap`, DataParallel.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        pytree.register_pytree_node(
            cls,
            lambda output: (list(output.values()), list(output.keys())),
            functools.partial(_from_tree, cls),
            serialized_type_name=f"{cls.__module__}.{cls.__name__}",
        )

    def __post_init__(self) -> None:
        names = self._names()
        first = getattr(self, names[0])
        if isinstance(first, (Mapping, Iterator)):  # built as a dictionary is, which torch.nn.parallel.gather does
            super().__setattr__(names[0], None)
            for name, value in dict(first).items():
                self[name] = value
        self._sort()

    def _names(self) -> list[str]:
        return [field.name for field in fields(self)]  # type: ignore[arg-type]  # every subclass is a dataclass

    def _sort(self) -> None:
        """Hold the fields that have a value, in their order."""
        OrderedDict.clear(self)
        for name in self._names():
            value = getattr(self, name)
            if value is not None:
                OrderedDict.__setitem__(self, name, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values without those that are None; outputs inside an output become tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())

    def __getitem__(self, key: Any) -> Any:
        return OrderedDict.__getitem__(self, key) if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self._names():
            raise KeyError(f"{type(self).__name__} has no field {key!r}")
        super().__setattr__(key, value)
        self._sort()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in self:  # not while the constructor sets the fields one by one
            self._sort()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self._names())

    def _refuse(self, *arguments: Any, **options: Any) -> NoReturn:
        raise TypeError(f"the fields of {type(self).__name__} cannot be added or removed")

    __delitem__ = setdefault = pop = popitem = update = clear = _refuse


def _from_tree(cls: type[ModelOutput], values: Any, names: Any) -> ModelOutput:
    return cls(**dict(zip(names, values, strict=True)))


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """A tower's output.

    `last_hidden_state` is `(batch, tokens, hidden)` for text and `(batch, hidden, height, width)` for audio,
    `pooler_output` `(batch, hidden)`; `hidden_states` is the embeddings and each layer's output.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class ClapTextModelOutput(ModelOutput):
    """The text tower's output with its projection: `text_embeds` is `(batch, projection_dim)`, not normalised."""

    text_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class ClapAudioModelOutput(ModelOutput):
    """The audio tower's output with its projection: `audio_embeds` is `(batch, projection_dim)`, not normalised."""

    audio_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
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
