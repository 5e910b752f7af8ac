"""Changes the size of a text tower's vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from clapstream.clap.arguments import count_or, round_up
from clapstream.clap.gradient_checkpointing import GradientCheckpointing
from clapstream.clap.preparable import InferenceOnlyError, Preparable


class WordEmbeddings(Preparable, GradientCheckpointing):
    """The methods of transformers' models for word embeddings; only models with a text tower have some."""

    config: Any

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        raise NotImplementedError(f"{type(self).__name__} has no word embeddings")

    def get_output_embeddings(self) -> None:
        """None: CLAP predicts no tokens."""

    def tie_weights(self) -> None:
        """Nothing: no two of CLAP's parameters are the same."""

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None
    ) -> nn.Embedding:
        """Give the text tower room for so many tokens (`len(tokenizer)`) and return its word embeddings.

        Raises:
            TypeError: a model without a text tower, or a value that is not a whole number.
            ValueError: too few tokens.
            InferenceOnlyError: the model was prepared for inference.
        """
        if self.is_prepared_for_inference:
            raise InferenceOnlyError("cannot resize the word embeddings")
        embeddings = self.get_input_embeddings()
        if not isinstance(embeddings, nn.Embedding):
            raise TypeError(f"resize_token_embeddings: {type(self).__name__} has no text tower")
        found = resized(embeddings, new_num_tokens, pad_to_multiple_of, self.config.initializer_factor * 0.02)
        self.set_input_embeddings(found)
        text: Any = getattr(self.config, "text_config", self.config)
        text.vocab_size = found.num_embeddings
        return found


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
