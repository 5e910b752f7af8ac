"""Matrix products by oneDNN, with weights laid out once as the processor's matrix kernels want them.

This is the only module that uses PyTorch's private operators for oneDNN, those that its own compiler emits. Against
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
    """The precisions in which this PyTorch and this processor have packed products on the CPU, emulated or not."""
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return ()
    with_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if with_bfloat16 else (torch.float32,)


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that it is faster than float32.

    A CPU needs AVX512-BF16 or AMX: on any with AVX512 oneDNN accepts bfloat16 too, and emulates it.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or torch.bfloat16 not in packable_types():
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


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
