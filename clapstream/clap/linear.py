"""Linear layers that are quick at inference: weights laid out once as the processor's matrix kernels want them.

On the CPU this is oneDNN, through the operators that PyTorch's own compiler emits for it. Against
`functional.linear` in single precision they saved an eighth of the time of the audio tower's products, and GELU
costs no pass of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.kept import Kept


@functools.cache
def packable_types() -> tuple[torch.dtype, ...]:
    """The precisions in which this PyTorch and this processor have packed products on the CPU."""
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return ()
    with_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if with_bfloat16 else (torch.float32,)


def runs_prepared(inputs: Tensor, weight: Tensor) -> bool:
    """Whether a product may use prepared weights: nothing to differentiate, trace or cast."""
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled(inputs.device.type)
        and inputs.dtype == weight.dtype
    )


class Product(NamedTuple):
    """A weight `(outputs, inputs)`, packed or as it was, and its bias."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def prepare(cls, weight: Tensor, bias: Tensor | None) -> Product:
        """Pack the weight if it is on a device and in a precision that has a packed form."""
        if weight.device.type == "cpu" and weight.dtype in packable_types() and torch.backends.mkldnn.enabled:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return cls(weight, bias)

    def apply(self, inputs: Tensor, *, gelu: bool = False) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`, followed by GELU on request."""
        if self.weight.layout == torch.strided:
            outputs = functional.linear(inputs, self.weight, self.bias)
            return functional.gelu(outputs) if gelu else outputs
        name, form = ("gelu", "none") if gelu else ("none", "")
        product = torch.ops.mkldnn._linear_pointwise
        return cast(Tensor, product(inputs, self.weight, self.bias, name, [], form))


class PreparedLinear(nn.Linear):
    """A linear layer that prepares its weights at the first inference; it trains as any other."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self._prepared: Kept[Product] = Kept()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._prepared.forget()  # not to hold the old weights until the next inference
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, input: Tensor, *, gelu: bool = False) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`, followed by GELU on request."""
        if not runs_prepared(input, self.weight):
            return Product(self.weight, self.bias).apply(input, gelu=gelu)
        sources = (self.weight,) if self.bias is None else (self.weight, self.bias)
        product = self._prepared.get(sources, lambda: Product.prepare(self.weight, self.bias))
        return product.apply(input, gelu=gelu)
