"""The text tower: a RoBERTa encoder (Liu et al. 2019) with the parameter names of Hugging Face's CLAP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clapstream.clap.arguments import refuse_unknown
from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.config import ClapTextConfig
from clapstream.clap.outputs import BaseModelOutputWithPooling, ClapTextModelOutput
from clapstream.clap.projection import ClapProjectionLayer
from clapstream.clap.text_encoder import ClapTextEncoder, ClapTextPooler
from clapstream.clap.token_embeddings import ClapTextEmbeddings

POSITION_EMBEDDING_TYPES = ("absolute", "relative_key", "relative_key_query")
DECODER_ARGUMENTS = (
    "head_mask",
    "encoder_hidden_states",
    "encoder_attention_mask",
    "past_key_values",
    "use_cache",
)
"""In transformers' signature, but meaningless for an encoder; transformers 5 has removed head_mask."""


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
    """Raise TypeError for unknown arguments, and for those of a decoder that are set."""
    unsupported = [name for name, value in arguments.items() if value is not None and value is not False]
    refuse_unknown(arguments, DECODER_ARGUMENTS)
    if unsupported:
        raise TypeError(f"{', '.join(unsupported)}: not supported, the text tower is an encoder")
