"""Trades time for memory in training: activations inside layers are computed again for the backward pass.

After Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", by PyTorch's own `checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


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

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether it is enabled."""
        return any(stack.gradient_checkpointing for stack in self._stacks())

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Checkpoint every layer in training; the options are those of `torch.utils.checkpoint.checkpoint`."""
        for stack in self._stacks():
            stack.gradient_checkpointing = True
            stack.checkpoint_options = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}

    def gradient_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        for stack in self._stacks():
            stack.gradient_checkpointing = False

    def _stacks(self) -> list[LayerStack]:
        return [module for module in self.modules() if isinstance(module, LayerStack)]
