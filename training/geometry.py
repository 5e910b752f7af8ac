"""The sizes of the checkpoint that is trained."""

from __future__ import annotations

from clapstream.clap import ClapAudioConfig, ClapConfig, ClapTextConfig

TEXT_LAYERS = 3
LONGEST_TEXT = 126
"""Tokens in a text, its special tokens included."""


def text_config(vocabulary: int) -> ClapTextConfig:
    """Geometry of the text tower with so many WordPieces."""
    return ClapTextConfig(
        vocab_size=vocabulary, hidden_size=384, num_hidden_layers=TEXT_LAYERS, num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=LONGEST_TEXT + 2, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, projection_dim=512,
    )  # fmt: skip


def audio_config(drop_path: float = 0.0) -> ClapAudioConfig:
    """Geometry of the audio tower: overlapping patches, three stages, a last grid of 4 x 4.

    A stage of patches at a stride of 8 would cost a third of the time and gave nothing that 128 wide patches lack.
    """
    return ClapAudioConfig(
        patch_size=24, patch_stride=[16, 16], patch_embeds_hidden_size=128, depths=[2, 4, 1],
        num_attention_heads=[4, 8, 16], num_hidden_layers=3, window_size=4, hidden_size=512, projection_dim=512,
        hidden_dropout_prob=0.0, drop_path_rate=drop_path,
    )  # fmt: skip


def model_config(vocabulary: int) -> ClapConfig:
    """Geometry of the whole checkpoint with so many WordPieces."""
    return ClapConfig(
        text_config=text_config(vocabulary).to_dict(), audio_config=audio_config().to_dict(), projection_dim=512
    )
