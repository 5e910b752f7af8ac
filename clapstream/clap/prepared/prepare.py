"""Prepares models for inference: puts modules with packed weights and fewer copies in the place of plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.patch_embed import ClapAudioPatchEmbed
from clapstream.clap.preparable import Preparable
from clapstream.clap.prepared.inference_only import InferenceOnly
from clapstream.clap.prepared.packed import PackedIntermediate, PackedLinear, PreparedSelfAttention
from clapstream.clap.prepared.reorder import Reorder
from clapstream.clap.projection import Activation
from clapstream.clap.swin import ClapAudioIntermediate, ClapAudioLayer, ClapAudioStage, StageResult
from clapstream.clap.text_encoder import ClapTextIntermediate
from clapstream.clap.window_attention import Attended, ClapAudioSelfAttention
from clapstream.clap.windows import WindowPlan


class PreparedStage(InferenceOnly):
    """A stage whose tokens stay in window order from one layer to the next where the windows divide the grid."""

    def __init__(self, stage: ClapAudioStage) -> None:
        super().__init__()
        first: Any = stage.blocks[0]
        self.example = first.layernorm_before.weight.detach().new_empty(0)
        self.blocks, self.downsample = stage.blocks, stage.downsample
        self.plans, self.unshrunk_plans = stage.plans, stage.unshrunk_plans
        self.reorders = None
        if not any(plan.is_padded for plan in stage.plans):
            self.reorders = reorders(stage.plans, self.example.device)
            self.plans = [InWindowOrder(plan.height, plan.width, plan.side, plan.shift) for plan in stage.plans]
        for layer, plan in zip(self.blocks, self.plans, strict=True):
            replace_attention(cast(ClapAudioLayer, layer).attention, plan)
        replace(self)
        self.eval()

    def forward(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> StageResult:
        """Tokens `(batch, height * width, channels)` of this stage's grid in; of the next one's out."""
        tokens = self.accept(tokens)
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            unmerged, probabilities = self._layers(tokens, output_attentions, always_partition)
            merged = unmerged if self.downsample is None else self.downsample(unmerged)
        return StageResult(merged, unmerged, probabilities)

    def _layers(self, tokens: Tensor, output_attentions: bool, always_partition: bool) -> Attended:
        probabilities = None
        if always_partition or self.reorders is None:
            plans: Sequence[WindowPlan] = self.unshrunk_plans if always_partition else self.plans
            for layer, plan in zip(self.blocks, plans, strict=True):
                tokens, probabilities = layer(tokens, plan, output_attentions)
            return Attended(tokens, probabilities)
        *arrivals, departure = self.reorders
        for arrive, layer, plan in zip(arrivals, self.blocks, self.plans, strict=True):
            tokens, probabilities = layer(arrive(tokens), plan, output_attentions)
        return Attended(departure(tokens), probabilities)


class InWindowOrder(WindowPlan):
    """A plan for tokens that lie in its window order already."""

    def partition(self, grid: Tensor) -> Tensor:
        """`(batch, height * width, channels)` -> `(batch * windows, side * side, channels)`."""
        return grid.reshape(-1, self.side * self.side, grid.shape[-1])

    def merge(self, windows: Tensor) -> Tensor:
        """Undo `partition`."""
        return windows.reshape(-1, self.height * self.width, windows.shape[-1])


def reorders(plans: Sequence[WindowPlan], device: torch.device) -> nn.ModuleList:
    """From the grid's own order through each layer's window order and back."""
    own = torch.arange(plans[0].height * plans[0].width)
    orders = [own, *(plan.order() for plan in plans), own]
    return nn.ModuleList(Reorder(before, after) for before, after in pairwise(orders)).to(device)


def prepare(model: nn.Module) -> None:
    """Replace what has a fast path inside a model by it, and empty the parameters that are not its own any more."""
    before = list(model.parameters())
    if any(parameter.is_meta for parameter in before):
        raise ValueError(
            "prepare_for_inference: the model has no weights, it is on the device 'meta'; load them first"
        )
    model.eval().requires_grad_(False).zero_grad()
    with torch.no_grad():
        replace(model)
    remaining = {id(parameter) for parameter in model.parameters()}
    for parameter in before:
        if id(parameter) not in remaining:  # whoever holds it still, an optimiser say, must not change it in vain
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)


def replace(module: nn.Module) -> None:
    """Replace the plain modules below one of ours; what is not ours, or has hooks, is left as it is."""
    child: Any
    for name, child in module.named_children():
        if isinstance(child, Preparable):
            child.was_prepared = True
        if isinstance(child, ClapAudioPatchEmbed) and is_plain(child.proj, nn.Conv2d):
            child.proj.weight.data = child.proj.weight.data.contiguous(memory_format=torch.channels_last)
        if is_plain(child, nn.Linear):
            setattr(module, name, PackedLinear(child))
        elif is_gelu_layer(child):
            setattr(module, name, PackedIntermediate(child))
        elif is_plain_stage(child):
            setattr(module, name, PreparedStage(child))
        elif type(child).__module__.startswith("clapstream.") or isinstance(child, (Preparable, nn.ModuleList)):
            replace(child)


def replace_attention(attention: nn.Module, plan: WindowPlan) -> None:
    """Replace the attention inside windows if query, key and value can be joined."""
    own = attention.self
    if type(own) is not ClapAudioSelfAttention:
        return
    parts = (own.query, own.key, own.value)
    if all(is_plain(part, nn.Linear) for part in parts) and len({part.bias is None for part in parts}) == 1:
        attention.self = PreparedSelfAttention(own, plan)


def is_plain(module: Any, kind: type[nn.Module]) -> bool:
    """Whether a module is of exactly that class, which parametrizations and adapters change, and has no hooks."""
    return type(module) is kind and not has_hooks(module)


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module calls something else too."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def is_gelu_layer(module: Any) -> bool:
    """Whether a module is a plain linear layer with GELU after it."""
    if not (is_plain(module, ClapAudioIntermediate) or is_plain(module, ClapTextIntermediate)):
        return False
    function = module.intermediate_act_fn
    is_gelu = is_plain(function, Activation) and function.function is functional.gelu
    return is_gelu and is_plain(module.dense, nn.Linear)


def is_plain_stage(module: Any) -> bool:
    """Whether a module is a stage of plain layers in which nothing has hooks, which would see another order."""
    return (
        type(module) is ClapAudioStage
        and all(type(layer) is ClapAudioLayer for layer in module.blocks)
        and not any(map(has_hooks, module.modules()))
    )
