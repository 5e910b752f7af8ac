"""Matrix products that are quick at inference: weights laid out once as the processor's matrix kernels want them.

On the CPU this is oneDNN, through the operators that PyTorch's own compiler emits for it. Against
`functional.linear` in single precision they saved an eighth of the time of the audio tower's products, and GELU
costs no pass of its own.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional


@functools.cache
def packable_types() -> tuple[torch.dtype, ...]:
    """The precisions in which this PyTorch and this processor have packed products on the CPU."""
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return ()
    with_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if with_bfloat16 else (torch.float32,)


class Product(NamedTuple):
    """A weight `(outputs, inputs)`, packed or as it was, and its bias; copies of the tensors they were made of."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def prepare(cls, weight: Tensor, bias: Tensor | None) -> Product:
        """Pack the weight if it is on a device and in a precision that has a packed form."""
        weight, bias = weight.detach(), None if bias is None else bias.detach().clone()
        if weight.device.type == "cpu" and weight.dtype in packable_types() and torch.backends.mkldnn.enabled:
            return cls(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()), bias)
        return cls(weight.clone(), bias)

    def apply(self, inputs: Tensor, *, gelu: bool = False) -> Tensor:
        """`(..., inputs)` -> `(..., outputs)`, followed by GELU on request."""
        if self.weight.layout == torch.strided:
            outputs = functional.linear(inputs, self.weight, self.bias)
            return functional.gelu(outputs) if gelu else outputs
        name, form = ("gelu", "none") if gelu else ("none", "")
        product = torch.ops.mkldnn._linear_pointwise
        return cast(Tensor, product(inputs, self.weight, self.bias, name, [], form))

    def unpacked(self) -> Tensor:
        """A copy of the weight `(outputs, inputs)` as it was before it was packed."""
        return self.weight.clone() if self.weight.layout == torch.strided else self.weight.to_dense()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).prepare, (self.unpacked(), self.bias)  # the packed layout is this processor's own
