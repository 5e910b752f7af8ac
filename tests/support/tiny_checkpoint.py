"""A tiny checkpoint with random weights, written by transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.tokenizer import ClapTokenizer
from support.random_weights import randomise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

TEXT: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "pad_token_id": 1,
}
AUDIO: dict[str, Any] = {
    "depths": [1, 1],
    "num_attention_heads": [1, 2],
    "patch_embeds_hidden_size": 8,
    "hidden_size": 16,
    "spec_size": 64,
    "num_mel_bins": 16,
    "window_size": 4,
}
INPUT_IDS = torch.tensor([[0, 7, 9, 2]])


def write_tiny_checkpoint(directory: Path) -> None:
    """Write every file that `from_pretrained` reads, the model as transformers writes it."""
    model = transformers.ClapModel(transformers.ClapConfig(text_config=TEXT, audio_config=AUDIO, projection_dim=12))
    randomise(model)
    model.save_pretrained(directory)
    ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(directory)
    ClapTokenizer.from_pretrained("bundled").save_pretrained(directory)


def copy_files(source: Path, target: Path) -> Path:
    """A copy of a checkpoint's files, to be changed."""
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target
