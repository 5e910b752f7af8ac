"""Audio towers of many geometries beside those of transformers with the same random weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.config import ClapAudioConfig
from support.random_weights import randomise
from support.small_clap import AUDIO

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

SMALL: dict[str, Any] = {**AUDIO, "projection_dim": 24}
"""The smallest tower that has everything."""

GEOMETRIES: dict[str, tuple[dict[str, Any], int]] = {
    "small": (SMALL, 256),
    "stretched in time": ({**SMALL, "layer_norm_eps": 1e-3}, 201),
    "stretched in frequency": (
        {**SMALL, "spec_size": 60, "patch_size": 5, "patch_stride": 5, "window_size": 3},
        180,
    ),
    "padded windows": ({**SMALL, "window_size": 3}, 250),
    "overlapping patches": ({**SMALL, "patch_size": [8, 6], "mlp_ratio": 2.0, "qkv_bias": False}, 240),
    "oblong patches": (
        {**SMALL, "patch_size": [4, 2], "patch_stride": [4, 2], "enable_patch_layer_norm": False},
        256,
    ),
    "three stages": (
        {**SMALL, "depths": [1, 3, 2], "num_attention_heads": [1, 2, 8], "hidden_size": 64, "hidden_act": "relu"},
        256,
    ),
    "two channels": ({**SMALL, "patch_embed_input_channels": 2, "num_mel_bins": 32}, 100),
    "fused": ({**SMALL, "enable_fusion": True, "fusion_type": "aff_2d"}, 256),
    "fused, overlapping": ({**SMALL, "enable_fusion": True, "patch_size": 8, "aff_block_r": 2}, 201),
}


def pair_of_models(
    config: Mapping[str, Any],
    ours: type[Any] = ClapAudioModel,
    reference: type[Any] = transformers.ClapAudioModel,
) -> tuple[Any, Any]:
    """Both models with the same random weights, in evaluation mode."""
    theirs = reference(transformers.ClapAudioConfig(**config)).eval()
    randomise(theirs)
    model = ours(ClapAudioConfig(**config)).eval()
    model.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, model


def spectrograms(config: Mapping[str, Any], frames: int, rows: int = 3) -> dict[str, Tensor]:
    """Random decibels `(rows, views, frames, mels)`, and a mark for every second row."""
    views = 4 if config.get("enable_fusion") else config.get("patch_embed_input_channels", 1)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(rows, views, frames, config.get("num_mel_bins", 64), generator=generator) * 20 - 40
    return {"input_features": features, "is_longer": (torch.arange(rows) % 2 == 1)[:, None]}


def assert_close(found: Tensor, expected: Tensor, relative: float, absolute: float, name: str) -> None:
    """Compare two tensors, with a message that names them."""
    torch.testing.assert_close(found, expected, rtol=relative, atol=absolute, msg=lambda text: f"{name}: {text}")


def assert_same_output(ours: Mapping[str, Any], theirs: Mapping[str, Any], tolerance: float = 1e-5) -> None:
    """Compare every field of an output with the reference's."""
    assert set(ours) <= set(theirs)
    for name in ours:
        assert_close(ours[name], theirs[name], tolerance, tolerance, name)
