"""The modules of the text tower: a RoBERTa encoder (Liu et al. 2019) with the names of Hugging Face's CLAP."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.config import ClapTextConfig
from clapstream.clap.gradient_checkpointing import LayerStack
from clapstream.clap.preparable import Preparable
from clapstream.clap.projection import activation


class ClapTextSelfAttention(nn.Module):
    """Multi-head attention, with relative positions if the configuration asks for them (Shaw et al. 2018)."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.position_embedding_type = config.position_embedding_type
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        if self.position_embedding_type != "absolute":
            self.distance_embedding = nn.Embedding(2 * config.max_position_embeddings - 1, self.head_size)

    def forward(
        self, hidden_states: Tensor, bias: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Maps `(batch, tokens, hidden)` to the same shape; `bias` `(batch, 1, ..., tokens)` joins the scores.

        The second result is the probabilities `(batch, heads, tokens, tokens)` if they are asked for.
        """
        query, key, value = (
            project(hidden_states).unflatten(-1, (self.heads, self.head_size)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        if self.position_embedding_type != "absolute":
            relative = self.relative_scores(query, key) * self.head_size**-0.5
            bias = relative if bias is None else relative + bias
        probabilities = None
        if output_attentions or self.dropout.training:  # the fused kernel calls no dropout module
            context, probabilities = self.attend_explicitly(query, key, value, bias)
        else:
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return context.transpose(1, 2).flatten(2), probabilities if output_attentions else None

    def attend_explicitly(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What SDPA computes, with the probabilities it keeps to itself."""
        scores = query @ key.transpose(-1, -2) * self.head_size**-0.5
        if bias is not None:
            scores = scores + bias
        probabilities = self.dropout(scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype))
        return probabilities @ value, probabilities

    def relative_scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores `(batch, heads, tokens, tokens)` of the distance between a query's and a key's place, unscaled."""
        tokens = query.shape[2]
        places = torch.arange(tokens, device=query.device)
        zero = (self.distance_embedding.num_embeddings - 1) // 2
        distances = self.distance_embedding(places[:, None] - places[None, :] + zero)
        scores = torch.einsum("bhld,lrd->bhlr", query, distances)
        if self.position_embedding_type == "relative_key_query":
            scores = scores + torch.einsum("bhrd,lrd->bhlr", key, distances)
        return scores


class ResidualOutput(nn.Module):
    """Projects a block's result, adds what went into the block and normalises the sum."""

    def __init__(self, config: ClapTextConfig, input_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: Tensor, residual: Tensor) -> Tensor:
        return cast(Tensor, self.LayerNorm(self.dropout(self.dense(hidden_states)) + residual))


class ClapTextAttention(nn.Module):
    """Attention with its residual connection."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.self = ClapTextSelfAttention(config)
        self.output = ResidualOutput(config, config.hidden_size)

    def forward(
        self, hidden_states: Tensor, bias: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        context, probabilities = self.self(hidden_states, bias, output_attentions)
        return self.output(context, hidden_states), probabilities


class ClapTextIntermediate(nn.Module):
    """The widening half of the feed-forward block."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.intermediate_act_fn = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return cast(Tensor, self.intermediate_act_fn(self.dense(hidden_states)))


class ClapTextLayer(nn.Module):
    """One transformer layer, normalised after each block."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.attention = ClapTextAttention(config)
        self.intermediate = ClapTextIntermediate(config)
        self.output = ResidualOutput(config, config.intermediate_size)

    def forward(
        self, hidden_states: Tensor, bias: Tensor | None, output_attentions: bool
    ) -> tuple[Tensor, Tensor | None]:
        attended, probabilities = self.attention(hidden_states, bias, output_attentions)
        return self.output(self.intermediate(attended), attended), probabilities


class ClapTextEncoder(Preparable, LayerStack):
    """The stack of layers."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(ClapTextLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self, hidden_states: Tensor, bias: Tensor | None, output_attentions: bool
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """The embeddings and every layer's output, and every layer's attention probabilities."""
        states, attentions = [hidden_states], []
        for layer in self.layer:
            hidden_states, probabilities = self.run_layer(layer, states[-1], bias, output_attentions)
            states.append(hidden_states)
            attentions.append(probabilities)
        return tuple(states), tuple(attentions)


class ClapTextPooler(nn.Module):
    """The sentence in one vector `(batch, hidden)`: its first token, through a dense layer and tanh."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = nn.Tanh()

    def forward(self, hidden_states: Tensor) -> Tensor:
        return cast(Tensor, self.activation(self.dense(hidden_states[:, 0])))
