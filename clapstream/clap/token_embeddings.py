"""The text tower's first layer: embeddings of tokens, their positions and their types."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from clapstream.clap.config import ClapTextConfig
from clapstream.clap.input_checks import check_ids
from clapstream.clap.tracing import is_tracing


class ClapTextEmbeddings(nn.Module):
    """Word, position and token type embeddings, summed and normalised."""

    position_ids: Tensor
    token_type_ids: Tensor

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.padding_idx = config.pad_token_id
        self.absolute = config.position_embedding_type == "absolute"
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=self.padding_idx)
        self.position_embeddings = nn.Embedding(
            config.max_position_embeddings, config.hidden_size, padding_idx=self.padding_idx
        )
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        # Constants that published checkpoints hold nevertheless.
        positions = torch.arange(config.max_position_embeddings)[None]
        self.register_buffer("position_ids", positions)
        self.register_buffer("token_type_ids", torch.zeros_like(positions))

    def forward(
        self,
        input_ids: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        """Embeds token ids `(batch, tokens)`, or words embedded already, as `(batch, tokens, hidden)`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        check_ids(input_ids)
        if position_ids is None:
            position_ids = self.number_positions(input_ids, inputs_embeds)
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if token_type_ids is None:
            token_type_ids = torch.zeros(words.shape[:2], dtype=torch.long, device=words.device)
        embeddings = words + self.token_type_embeddings(token_type_ids)
        if self.absolute:
            embeddings = embeddings + self.position_embeddings(position_ids)
        return cast(Tensor, self.dropout(self.LayerNorm(embeddings)))

    def number_positions(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        """Positions `(batch, tokens)` that start after `padding_idx`, which is every padding token's position.

        Padding cannot be recognised in `inputs_embeds`, so there every position counts.
        """
        if input_ids is None:
            assert inputs_embeds is not None
            real = torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
        else:
            real = input_ids.ne(self.padding_idx).long()
        positions = real.cumsum(dim=1) * real + self.padding_idx
        longest = self.position_ids.shape[1] - self.padding_idx - 1
        if is_tracing():  # a graph cannot depend on the values
            return positions
        if real.shape[1] > longest and int(positions.max()) >= self.position_ids.shape[1]:
            raise ValueError(f"text of {real.shape[1]} tokens; this model reads at most {longest}")
        return positions
