"""What the arguments of `from_pretrained` mean that say how to load: precision, device, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from clapstream.clap.arguments import refuse_by_name, require_one_of
from clapstream.clap.weights import Weights

QUANTISED = "weights are loaded in a floating-point type; quantise the loaded model with torch.ao"
ONE_DEVICE = "the model is loaded onto one device (device_map)"
REFUSED = {
    "quantization_config": QUANTISED,
    "load_in_8bit": QUANTISED,
    "load_in_4bit": QUANTISED,
    "from_tf": "only safetensors and PyTorch's files are read",
    "from_flax": "only safetensors and PyTorch's files are read",
    "gguf_file": "only safetensors and PyTorch's files are read",
    "key_mapping": "keys are those of Hugging Face's CLAP",
    "max_memory": ONE_DEVICE,
    "offload_folder": ONE_DEVICE,
    "offload_state_dict": ONE_DEVICE,
    "offload_buffers": ONE_DEVICE,
    "tp_plan": ONE_DEVICE,
    "tp_size": ONE_DEVICE,
    "device_mesh": ONE_DEVICE,
}
"""Arguments of transformers that are not supported, and why."""

WITHOUT_EFFECT = ("low_cpu_mem_usage", "weights_only", "_fast_init")
"""Weights are always read one at a time, and pickles without running their code."""

AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")
"""Names of `device_map` that let accelerate choose; of so small a model all mean the first accelerator."""


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that change nothing here.

    Raises:
        TypeError: one that is not supported; the message names it.
        ValueError: an unknown `attn_implementation`.
    """
    refuse_by_name(options, REFUSED)
    require_one_of("attn_implementation", options.get("attn_implementation"), (None, "eager", "sdpa"))
    ignored = (*REFUSED, *WITHOUT_EFFECT, "attn_implementation")
    return {name: value for name, value in options.items() if name not in ignored}


def choose_dtype(asked: torch.dtype | str | None, configured: str | None, weights: Weights) -> torch.dtype:
    """The precision to load in.

    None is the configuration's, and float32 if that has none; "auto" is the configuration's, and if that has none
    the one that the weights are stored in.
    """
    if asked == "auto" and configured in (None, "auto"):
        return stored_dtype(weights)
    return parse_dtype(configured if asked in (None, "auto") else asked)


def stored_dtype(weights: Weights) -> torch.dtype:
    """The precision of a checkpoint's first floating-point tensor; float32 if it has none."""
    dtypes = (weights.read(key).dtype for key in weights.shapes)
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)


def parse_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A floating-point type by itself or by name; float32 for None and "auto".

    Raises:
        ValueError: it is something else.
    """
    if dtype is None or dtype == "auto":
        return torch.float32
    parsed = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(parsed, torch.dtype) or not parsed.is_floating_point:
        raise ValueError(f"dtype {dtype!r} is not a floating-point type of torch")
    return parsed


def choose_device(device_map: Any) -> torch.device | None:
    """The one device that a `device_map` names, also as `{"": device}`; None if it is None.

    Raises:
        ValueError: it names several devices, or none that there is.
    """
    if device_map is None:
        return None
    if isinstance(device_map, Mapping):
        devices = set(device_map.values())
        if len(devices) != 1:
            raise ValueError(f"device_map must name one device, not {device_map!r}")
        return choose_device(devices.pop())
    if isinstance(device_map, str) and device_map in AUTOMATIC:
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        device = torch.device(device_map)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device_map={device_map!r} is not a device: {str(error).splitlines()[0]}") from error
    if device.type == "meta":
        raise ValueError("device_map='meta' has no memory for weights; build the model under torch.device('meta')")
    return device


def refuse_meta(model: nn.Module) -> None:
    """Raise RuntimeError for a model that was built where there is no memory for weights."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise RuntimeError(
            "from_pretrained cannot load weights while the default device is 'meta' (torch.device, "
            "torch.set_default_device); call it outside, or build the model from its configuration"
        )


def move(model: nn.Module, device_map: Any) -> None:
    """Move a model to the device that a `device_map` names; ValueError if that cannot be used."""
    device = choose_device(device_map)
    if device is not None:
        try:
            model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device_map={device_map!r} cannot be used: {error}") from error
