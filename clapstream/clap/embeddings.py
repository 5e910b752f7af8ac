"""Changes the size of a text tower's vocabulary."""

from __future__ import annotations

import torch
from torch import nn

from clapstream.clap.arguments import count_or, round_up


def resized(
    embedding: nn.Embedding, tokens: int | None, multiple: int | None, standard_deviation: float
) -> nn.Embedding:
    """The same embedding for another number of tokens, rounded up to a multiple; new rows are drawn at random.

    Raises:
        ValueError: the number is less than one, or leaves out the padding token.
    """
    count = round_up(count_or("new_num_tokens", tokens, embedding.num_embeddings), multiple)
    if embedding.padding_idx is not None and embedding.padding_idx >= count:
        raise ValueError(f"new_num_tokens {count} leaves out the padding token {embedding.padding_idx}")
    if count == embedding.num_embeddings:
        return embedding
    weight = embedding.weight
    kept = min(count, embedding.num_embeddings)
    found = nn.Embedding(count, weight.shape[1], embedding.padding_idx, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        found.weight.normal_(std=standard_deviation)
        found.weight[:kept] = weight[:kept]
    found.weight.requires_grad_(weight.requires_grad)
    return found.train(embedding.training)
