"""The configurations of a small CLAP, and a batch for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clapstream.clap.config import ClapConfig

AUDIO: dict[str, Any] = {
    "spec_size": 64,
    "num_mel_bins": 16,
    "patch_embeds_hidden_size": 16,
    "depths": [2, 2],
    "num_attention_heads": [2, 4],
    "hidden_size": 32,
    "window_size": 4,
}
TEXT: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 30,
}


def inputs_for(config: ClapConfig, frames: int, pairs: int) -> dict[str, Tensor]:
    """Spectrograms of which every second is longer, and texts of two lengths."""
    generator = torch.Generator().manual_seed(2)
    audio = config.audio_config
    views = 4 if audio.enable_fusion else 1
    ids = torch.randint(5, config.text_config.vocab_size, (pairs, 9), generator=generator)
    mask = torch.ones(pairs, 9, dtype=torch.long)
    ids[1::2, 6:] = 1
    mask[1::2, 6:] = 0
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "input_features": torch.randn(pairs, views, frames, audio.num_mel_bins, generator=generator) * 20 - 40,
        "is_longer": (torch.arange(pairs) % 2 == 1)[:, None],
    }
