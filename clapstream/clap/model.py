"""CLAP: both towers, and how alike a sound and a text are (Wu et al. 2023, names as in Hugging Face's CLAP)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.audio import ClapAudioModel
from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.config import ClapConfig
from clapstream.clap.input_checks import check_ids
from clapstream.clap.outputs import ClapOutput
from clapstream.clap.projection import ClapProjectionLayer
from clapstream.clap.segments import SegmentFeatures
from clapstream.clap.text import ClapTextModel


class ClapModel(SegmentFeatures, PretrainedModel[ClapConfig]):
    """Embeds sounds and texts in one space and compares them there."""

    config_class = ClapConfig

    def __init__(self, config: ClapConfig) -> None:
        super().__init__(config)
        self.logit_scale_a = nn.Parameter(torch.tensor(math.log(config.logit_scale_init_value)))
        self.logit_scale_t = nn.Parameter(torch.tensor(math.log(config.logit_scale_init_value)))
        self.text_model = ClapTextModel(config.text_config)
        self.text_projection = ClapProjectionLayer(config.text_config)
        self.audio_model = ClapAudioModel(config.audio_config)
        self.audio_projection = ClapProjectionLayer(config.audio_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The text tower's word embeddings."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the text tower's word embeddings."""
        self.text_model.set_input_embeddings(value)

    def get_text_features(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **arguments: Any,
    ) -> Tensor:
        """Unit-length embeddings of texts, `(batch, projection_dim)`; further arguments as in `ClapTextModel`.

        The last three arguments are those of the reference and change nothing: only the embedding is returned.
        """
        encoded = self.text_model(
            input_ids, attention_mask, position_ids=position_ids, return_dict=True, **arguments
        )
        return functional.normalize(self.text_projection(encoded.pooler_output), dim=-1)

    def get_audio_features(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Tensor:
        """Unit-length embeddings of sounds, `(batch, projection_dim)`, from what the feature extractor made.

        The last three arguments are those of the reference and change nothing: only the embedding is returned.

        Raises:
            TypeError: an `attention_mask` was given; sounds have none.
        """
        if attention_mask is not None:
            raise TypeError("attention_mask has no meaning for sounds, which all have the same length")
        encoded = self.audio_model(input_features, is_longer, return_dict=True)
        return functional.normalize(self.audio_projection(encoded.pooler_output), dim=-1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        is_longer: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **arguments: Any,
    ) -> ClapOutput | tuple[Any, ...]:
        """Compare texts with sounds; arguments as in both towers, further ones as in `ClapTextModel`.

        `return_loss` adds the contrastive loss, for which text i must belong to sound i. As in the reference it
        asks for the right sound among all for each text, at both scales, and never for the right text for a sound.

        Raises:
            ValueError: the sounds are missing, or the loss is asked for unequal numbers of texts and sounds.
        """
        check_ids(input_ids)
        if input_features is None:
            raise ValueError("input_features are missing; get_text_features embeds texts alone")
        config = self.config
        wanted = {
            "output_attentions": config.output_attentions if output_attentions is None else output_attentions,
            "output_hidden_states": (
                config.output_hidden_states if output_hidden_states is None else output_hidden_states
            ),
            "return_dict": True,
        }
        sounds = self.audio_model(input_features, is_longer, **wanted)
        texts = self.text_model(input_ids, attention_mask, position_ids=position_ids, **wanted, **arguments)
        audio_embeds = functional.normalize(self.audio_projection(sounds.pooler_output), dim=-1)
        text_embeds = functional.normalize(self.text_projection(texts.pooler_output), dim=-1)
        similarity = text_embeds @ audio_embeds.T
        logits_per_text = similarity * self.logit_scale_t.exp()
        logits_per_audio = similarity.T * self.logit_scale_a.exp()
        output = ClapOutput(
            loss=contrastive_loss(logits_per_text, logits_per_audio) if return_loss else None,
            logits_per_audio=logits_per_audio,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            audio_embeds=audio_embeds,
            text_model_output=texts,
            audio_model_output=sounds,
        )
        as_object = config.use_return_dict if return_dict is None else return_dict
        return output if as_object else output.to_tuple()


def contrastive_loss(logits_per_text: Tensor, logits_per_audio: Tensor) -> Tensor:
    """Mean cross-entropy of finding each text's sound, at the two scales.

    `(texts, sounds)` and `(sounds, texts)` -> `()`; ValueError if there are more of one than of the other.
    """
    texts, sounds = logits_per_text.shape
    if texts != sounds:
        raise ValueError(f"the loss needs a text for each sound, not {texts} texts for {sounds} sounds")
    own = torch.arange(texts, device=logits_per_text.device)
    return (functional.cross_entropy(logits_per_text, own) + functional.cross_entropy(logits_per_audio.T, own)) / 2
