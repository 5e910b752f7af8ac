"""Loads the `.pt` files that LAION's own code trains and publishes (laion_clap, Wu et al. 2023).

The names differ from Hugging Face's by rule (transformers' convert_clap_original_pytorch_to_hf.py), and the
configuration follows from the shapes. Only HTSAT with RoBERTa, unfused or fused by attention, which is what LAION
published: not its PANN, BERT and BART variants.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clapstream.clap.config import ClapAudioConfig, ClapConfig, ClapTextConfig
from clapstream.clap.hub import CheckpointError
from clapstream.clap.loading import SkipInitialisation, load
from clapstream.clap.loading_options import choose_dtype
from clapstream.clap.model import ClapModel
from clapstream.clap.weight_files import open_pickle, refuse_other_files, require_tensors
from clapstream.clap.weights import StateDict

RENAMED = (
    ("text_branch.", "text_model."),
    ("audio_branch.", "audio_model.audio_encoder."),
    ("_projection.0.", "_projection.linear1."),
    ("_projection.2.", "_projection.linear2."),
    (".bn0.", ".batch_norm."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".attn.proj.", ".attention.output.dense."),
    (".attn.", ".attention.self."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
)
"""Parts of LAION's names and what takes their place, in this order."""

UNUSED = (
    "audio_branch.spectrogram_extractor.",  # the feature extractor does its work here
    "audio_branch.logmel_extractor.",
    "audio_branch.tscam_conv.",  # AudioSet classes, from before the contrastive training
    "audio_branch.head.",
    "audio_transform.",  # a second pair of projections, for a loss only
    "text_transform.",
)
"""What LAION's files hold beyond the model, by how it begins."""

HEAD_SIZE = 64
"""Width of RoBERTa's attention heads, which no tensor's shape shows."""

SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)),
]
"""What training notes beside the weights (the best score so far) are made of."""


def from_laion(
    path: str | PathLike[str], *, config: ClapConfig | None = None, dtype: torch.dtype | str | None = None
) -> ClapModel:
    """The model in a file of LAION's, in evaluation mode; `save_pretrained` makes a checkpoint directory of it.

    `config` is needed only where `infer_config` guesses wrong. A fused model needs features of a fused extractor.

    Raises:
        CheckpointError: the file is damaged, holds another kind of model, or a key is missing or unexpected.
    """
    path = Path(path)
    state = read(path)
    config = config or infer_config(state, path)
    with SkipInitialisation():
        model = ClapModel(config)
    weights = StateDict(path, convert(state))
    model.to(choose_dtype(dtype, None, weights))
    load(model, weights)
    return model.eval()


def read(path: Path) -> dict[str, Tensor]:
    """The file's tensors by LAION's names: without its wrapping, and without the prefix of parallel training."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    refuse_other_files(path)
    with torch.serialization.safe_globals(HARMLESS):
        content = open_pickle(path)
    wrapped = content.get("state_dict")
    state = wrapped if isinstance(wrapped, dict) else content
    require_tensors(path, state)
    return {key.removeprefix("module."): value for key, value in state.items()}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by Hugging Face's names, without those that have no place there."""
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(UNUSED) or key.endswith(".attn_mask"):
            continue
        for old, new in RENAMED:
            key = key.replace(old, new)
        if ".qkv." in key:
            for part, share in zip(("query", "key", "value"), value.chunk(3), strict=True):
                converted[key.replace(".qkv.", f".{part}.")] = share
        else:
            converted[key] = value
    return converted


def infer_config(state: Mapping[str, Tensor], path: Path) -> ClapConfig:
    """The configuration that a file's shapes imply; CheckpointError if they are those of another kind of model."""
    try:
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        text, audio = infer_text(shapes), infer_audio(shapes)
        return ClapConfig(text, audio, projection_dim=shapes["text_projection.0.weight"][0])
    except KeyError as error:
        raise CheckpointError(
            f"{path}: has no {error.args[0]}; only LAION's CLAP of HTSAT and RoBERTa can be read"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def infer_text(shapes: Mapping[str, tuple[int, ...]]) -> ClapTextConfig:
    """The text tower's configuration, with RoBERTa's own epsilon (Hugging Face's conversion has another)."""
    embeddings = "text_branch.embeddings"
    vocab_size, hidden_size = shapes[f"{embeddings}.word_embeddings.weight"]
    return ClapTextConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=count(shapes, r"text_branch\.encoder\.layer\.(\d+)\."),
        num_attention_heads=hidden_size // HEAD_SIZE,
        intermediate_size=shapes["text_branch.encoder.layer.0.intermediate.dense.weight"][0],
        max_position_embeddings=shapes[f"{embeddings}.position_embeddings.weight"][0],
        type_vocab_size=shapes[f"{embeddings}.token_type_embeddings.weight"][0],
        layer_norm_eps=1e-5,
    )


def infer_audio(shapes: Mapping[str, tuple[int, ...]]) -> ClapAudioConfig:
    """The audio tower's configuration; patches do not overlap in any model that LAION published."""
    channels, views, patch_size, _ = shapes["audio_branch.patch_embed.proj.weight"]
    if views != 1:
        raise ValueError(f"patches of {views} views are fused as channels; only fusion by attention can be read")
    stages = count(shapes, r"audio_branch\.layers\.(\d+)\.")
    blocks = [f"audio_branch.layers.{stage}.blocks" for stage in range(stages)]
    tables = [shapes[f"{block}.0.attn.relative_position_bias_table"] for block in blocks]
    window_size = (math.isqrt(tables[0][0]) + 1) // 2
    bottleneck = shapes.get("audio_branch.patch_embed.fusion_model.local_att.0.weight")
    widened, narrow = shapes[f"{blocks[0]}.0.mlp.fc1.weight"]
    settings: dict[str, Any] = {}
    if bottleneck is not None:
        settings = {"enable_fusion": True, "fusion_type": "aff_2d", "aff_block_r": channels // bottleneck[0]}
    mask = shapes.get(f"{blocks[0]}.1.attn_mask")
    if mask is not None:  # one for each window of the first stage: they cover the spectrogram's square
        settings["spec_size"] = math.isqrt(mask[0]) * window_size * patch_size
    return ClapAudioConfig(
        patch_embeds_hidden_size=channels,
        patch_size=patch_size,
        patch_stride=[patch_size, patch_size],
        num_mel_bins=shapes["audio_branch.bn0.weight"][0],
        depths=[count(shapes, re.escape(block) + r"\.(\d+)\.") for block in blocks],
        num_hidden_layers=stages,
        num_attention_heads=[table[1] for table in tables],
        window_size=window_size,
        mlp_ratio=widened / narrow,
        qkv_bias=f"{blocks[0]}.0.attn.qkv.bias" in shapes,
        hidden_size=shapes["audio_projection.0.weight"][1],
        **settings,
    )


def count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many different numbers a pattern's group finds in the keys."""
    found = (re.match(pattern, key) for key in shapes)
    return len({match[1] for match in found if match})
