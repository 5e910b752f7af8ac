"""Whether PyTorch is recording a graph of the operations, rather than only running them."""

from __future__ import annotations

import torch


def is_tracing() -> bool:
    """True inside `torch.compile`, `torch.export` and `torch.jit.trace`, and so inside both ONNX exporters."""
    return torch.compiler.is_compiling() or bool(torch._C._get_tracing_state())
