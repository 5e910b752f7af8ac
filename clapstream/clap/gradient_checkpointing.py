"""Trades time for memory in training: activations inside layers are computed again for the backward pass.

After Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", by PyTorch's own `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle


class LayerStack(nn.Module):
    """A module that calls layers one after another, through `run_layer`."""

    gradient_checkpointing = False
    checkpoint_options: dict[str, Any]

    def run_layer(self, layer: Callable[..., Any], *arguments: Any) -> Any:
        """Call a layer, in training with checkpointing if that is enabled."""
        if self.gradient_checkpointing and self.training:
            return checkpoint(layer, *arguments, **self.checkpoint_options)
        return layer(*arguments)


class GradientCheckpointing(nn.Module):
    """A model whose layers may be checkpointed; the methods' names are those of transformers."""

    supports_gradient_checkpointing = True
    _input_hooks: tuple[RemovableHandle, ...] = ()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether it is enabled."""
        return any(stack.gradient_checkpointing for stack in self._stacks())

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Checkpoint every layer in training; the options are those of `torch.utils.checkpoint.checkpoint`.

        Raises:
            TypeError: fewer layers, or activations on another device, are asked for (transformers 5 has both).
        """
        if every_n_layers != 1 or offload:
            asked = f"every_n_layers={every_n_layers!r}, offload={offload!r}"
            raise TypeError(f"{asked}: every layer is checkpointed, on its own device")
        for stack in self._stacks():
            stack.gradient_checkpointing = True
            stack.checkpoint_options = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations."""
        for stack in self._stacks():
            stack.gradient_checkpointing = False

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """As `gradient_checkpointing_enable`, by its name in transformers 5."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, every_n_layers, offload)

    def activation_checkpointing_disable(self) -> None:
        """As `gradient_checkpointing_disable`, by its name in transformers 5."""
        self.gradient_checkpointing_disable()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that reads the input."""
        raise NotImplementedError(f"{type(self).__name__} has no input embeddings")

    def enable_input_require_grads(self) -> None:
        """Let gradients flow from the first layers' outputs, which reentrant checkpointing of adapters needs."""
        self.disable_input_require_grads()
        models = [module for module in self.modules() if isinstance(module, GradientCheckpointing)]
        layers = {id(layer): layer for layer in (model.get_input_embeddings() for model in models)}
        self._input_hooks = tuple(layer.register_forward_hook(require_gradient) for layer in layers.values())

    def disable_input_require_grads(self) -> None:
        """Undo `enable_input_require_grads`."""
        for hook in self._input_hooks:
            hook.remove()
        self._input_hooks = ()

    def _stacks(self) -> list[LayerStack]:
        return [module for module in self.modules() if isinstance(module, LayerStack)]


def require_gradient(layer: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> None:
    """A forward hook that asks for the gradient of a layer's output."""
    if torch.is_grad_enabled():
        output.requires_grad_()
