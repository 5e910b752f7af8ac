"""The text tower: a RoBERTa encoder (Liu et al. 2019) with the parameter names of Hugging Face's CLAP."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.config import ClapTextConfig
from clapstream.clap.outputs import BaseModelOutputWithPooling, ClapTextModelOutput
from clapstream.clap.projection import ClapProjectionLayer, activation

POSITION_EMBEDDING_TYPES = ("absolute", "relative_key", "relative_key_query")
DECODER_ARGUMENTS = (
    "head_mask",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "past_key_values",
    "use_cache",
)
"""In transformers' signature, but without meaning for an encoder (or, head_mask, gone from it)."""


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

        Padding cannot be told apart in `inputs_embeds`, so there every place counts.
        """
        if input_ids is None:
            assert inputs_embeds is not None
            real = torch.ones(inputs_embeds.shape[:2], dtype=torch.long, device=inputs_embeds.device)
        else:
            real = input_ids.ne(self.padding_idx).long()
        positions = real.cumsum(dim=1) * real + self.padding_idx
        longest = self.position_ids.shape[1] - self.padding_idx - 1
        if real.shape[1] > longest and int(positions.max()) >= self.position_ids.shape[1]:
            raise ValueError(f"text of {real.shape[1]} tokens; this model reads at most {longest}")
        return positions


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
        if output_attentions:
            context, probabilities = self.attend_explicitly(query, key, value, bias)
        else:
            dropout = self.dropout.p if self.training else 0.0
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
            probabilities = None
        return context.transpose(1, 2).flatten(2), probabilities

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
        self.activation = activation(config.hidden_act)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.activation(self.dense(hidden_states))


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


class ClapTextEncoder(nn.Module):
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
            hidden_states, probabilities = layer(states[-1], bias, output_attentions)
            states.append(hidden_states)
            attentions.append(probabilities)
        return tuple(states), tuple(attentions)


class ClapTextPooler(nn.Module):
    """The sentence in one vector `(batch, hidden)`: its first token, through a dense layer and tanh."""

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.tanh(self.dense(hidden_states[:, 0]))


class ClapTextModel(PretrainedModel[ClapTextConfig]):
    """The text tower without its projection."""

    config_class = ClapTextConfig
    subtree = "text_model."

    def __init__(self, config: ClapTextConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        check(config)
        self.embeddings = ClapTextEmbeddings(config)
        self.encoder = ClapTextEncoder(config)
        self.pooler = ClapTextPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unsupported: Any,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encode texts given as `input_ids` `(batch, tokens)`; `attention_mask` is 1 for tokens and 0 for padding.

        `inputs_embeds` `(batch, tokens, hidden)` may take the place of `input_ids`.

        Raises:
            ValueError: neither or both of these were given, or the text is too long.
            TypeError: an argument that has no meaning for an encoder.
        """
        refuse_decoder_arguments(unsupported)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        embedded = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        bias = None if attention_mask is None else mask_to_bias(attention_mask, embedded.dtype)
        states, attentions = self.encoder(embedded, bias, output_attentions)
        output = BaseModelOutputWithPooling(
            last_hidden_state=states[-1],
            pooler_output=None if self.pooler is None else self.pooler(states[-1]),
            hidden_states=states if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
        )
        as_object = self.config.use_return_dict if return_dict is None else return_dict
        return output if as_object else output.to_tuple()


class ClapTextModelWithProjection(PretrainedModel[ClapTextConfig]):
    """The text tower with its projection: `text_embeds` is `(batch, projection_dim)`, not normalised."""

    config_class = ClapTextConfig

    def __init__(self, config: ClapTextConfig) -> None:
        super().__init__(config)
        self.text_model = ClapTextModel(config)
        self.text_projection = ClapProjectionLayer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The word embeddings."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        self.text_model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **arguments: Any,
    ) -> ClapTextModelOutput | tuple[Any, ...]:
        """As `ClapTextModel.forward`, whose further arguments it takes by name."""
        encoded = self.text_model(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **arguments,
        )
        output = ClapTextModelOutput(
            text_embeds=self.text_projection(encoded.pooler_output),
            last_hidden_state=encoded.last_hidden_state,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        as_object = self.config.use_return_dict if return_dict is None else return_dict
        return output if as_object else output.to_tuple()


def check(config: ClapTextConfig) -> None:
    """Raise ValueError for values that no text tower can be built from."""
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size {config.hidden_size} is not divisible by {config.num_attention_heads} attention heads"
        )
    if config.position_embedding_type not in POSITION_EMBEDDING_TYPES:
        raise ValueError(
            f"position_embedding_type {config.position_embedding_type!r} is none of "
            + ", ".join(POSITION_EMBEDDING_TYPES)
        )


def mask_to_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores so that nothing attends to padding.

    The mask is `(batch, tokens)` or, for each query its own, `(batch, tokens, tokens)`; the result has an axis
    for the heads. A large finite number rather than minus infinity: a text that is all padding gives no NaN.
    """
    if attention_mask.dim() not in (2, 3):
        raise ValueError(f"attention_mask must have 2 or 3 axes, not {attention_mask.dim()}")
    mask = attention_mask[:, None, None, :] if attention_mask.dim() == 2 else attention_mask[:, None, :, :]
    return (1.0 - mask.to(dtype)) * torch.finfo(dtype).min


def refuse_decoder_arguments(arguments: dict[str, Any]) -> None:
    """Raise TypeError for arguments that nobody knows, and for those of a decoder that say something."""
    said = [name for name, value in arguments.items() if value is not None and value is not False]
    unknown = [name for name in arguments if name not in DECODER_ARGUMENTS]
    if unknown:
        raise TypeError(f"unknown argument: {', '.join(unknown)}")
    if said:
        raise TypeError(f"{', '.join(said)}: without meaning here, the text tower is an encoder")
