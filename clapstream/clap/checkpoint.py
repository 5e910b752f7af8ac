"""Models that load from and save to a checkpoint, with every key accounted for and every shape checked."""

from __future__ import annotations

from os import PathLike
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from clapstream.clap.config import PretrainedConfig

Config = TypeVar("Config", bound=PretrainedConfig)


class PretrainedModel(nn.Module, Generic[Config]):
    """A module built from a configuration. A subclass's constructor ends with `self.post_init()`."""

    config_class: ClassVar[type[PretrainedConfig]]
    subtree: ClassVar[str] = ""
    """Prefix of this model's keys inside a whole CLAP's checkpoint; empty where the names are the same."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} needs a {self.config_class.__name__}, not {type(config).__name__}"
            )
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return next(self.parameters()).dtype

    def post_init(self) -> None:
        """Draw the initial weights as Hugging Face's CLAP does; a model inside this one has drawn its own."""
        for module in own_modules(self):
            self._initialise(module)

    def _initialise(self, module: nn.Module) -> None:
        factor = self.config.initializer_factor
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=factor * 0.02)
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            config: Any = self.config
            nn.init.normal_(module.weight, std=factor * (2 * config.hidden_size * config.num_hidden_layers) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **arguments: Any) -> Any:
        raise NotImplementedError

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        raise NotImplementedError


def own_modules(model: nn.Module) -> list[nn.Module]:
    """The modules below a model, without those that belong to a model inside it."""
    found = []
    for child in model.children():
        if not isinstance(child, PretrainedModel):
            found += [child, *own_modules(child)]
    return found
