"""The layer that ends both towers, and the activations that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapAudioConfig, ClapTextConfig


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh (Hendrycks and Gimpel 2016)."""
    return functional.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with a sigmoid (Hendrycks and Gimpel 2016)."""
    return x * torch.sigmoid(1.702 * x)


def identity(x: Tensor) -> Tensor:
    """The input, unchanged."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "leaky_relu": functional.leaky_relu,
    "linear": identity,
    "mish": functional.mish,
    "quick_gelu": quick_gelu,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}
"""By the names that Hugging Face gives them."""


class Activation(nn.Module):
    """A function as a module, so that hooks and tools find it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", repr(self.function))


def activation(chosen: str | Callable[[Tensor], Tensor]) -> nn.Module:
    """The activation of that name, a function or a module; ValueError lists the names there are."""
    if isinstance(chosen, nn.Module):
        return chosen
    if not isinstance(chosen, str):
        return Activation(chosen)
    if chosen not in ACTIVATIONS:
        raise ValueError(f"unknown activation {chosen!r}; known are {', '.join(ACTIVATIONS)}")
    return Activation(ACTIVATIONS[chosen])


class ClapProjectionLayer(nn.Module):
    """Maps a tower's pooled output `(batch, hidden)` into the space both share: `(batch, projection_dim)`."""

    def __init__(self, config: ClapAudioConfig | ClapTextConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden_size, config.projection_dim)
        self.activation = activation(config.projection_hidden_act)
        self.linear2 = nn.Linear(config.projection_dim, config.projection_dim)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return cast(Tensor, self.linear2(self.activation(self.linear1(hidden_states))))
