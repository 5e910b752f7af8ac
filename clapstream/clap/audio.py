"""The audio tower: HTSAT, a Swin transformer over the log-mel spectrogram folded into a square.

After Chen et al. 2022 (HTS-AT) and Liu et al. 2021 (Swin). Parameter names, outputs and numbers are those of
Hugging Face's CLAP.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from clapstream.clap.audio_encoder import ClapAudioEncoder
from clapstream.clap.checkpoint import PretrainedModel
from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.outputs import BaseModelOutputWithPooling, ClapAudioModelOutput
from clapstream.clap.projection import ClapProjectionLayer
from clapstream.clap.segments import SegmentFeatures


class ClapAudioModel(PretrainedModel[ClapAudioConfig]):
    """The audio tower: log-mel spectrograms to one vector for each sound."""

    config_class = ClapAudioConfig
    subtree = "audio_model."

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__(config)
        self.audio_encoder = ClapAudioEncoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds the patches."""
        return self.audio_encoder.patch_embed.proj

    def forward(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_hidden_states_before_downsampling: bool = False,
        always_partition: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Run the tower on `input_features` `(batch, views, frames, mels)`, as the feature extractor makes them.

        `is_longer` `(batch, 1)` marks the rows whose views differ (fusion only). `hidden_states` are the embedded
        patches and each stage's output, `(batch, channels, height, width)`; `attentions` those of each stage's last
        layer, `(batch * windows, heads, tokens, tokens)`. `always_partition` keeps the window's full size on grids
        smaller than it and fills them up. None takes the configuration's value.
        """
        config = self.config
        output = self.audio_encoder(
            input_features,
            is_longer,
            config.output_attentions if output_attentions is None else output_attentions,
            config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            output_hidden_states_before_downsampling,
            always_partition,
        )
        as_object = config.use_return_dict if return_dict is None else return_dict
        return cast(BaseModelOutputWithPooling, output) if as_object else output.to_tuple()


class ClapAudioModelWithProjection(SegmentFeatures, PretrainedModel[ClapAudioConfig]):
    """The audio tower and its projection into the space that sound and text share."""

    config_class = ClapAudioConfig

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__(config)
        self.audio_model = ClapAudioModel(config)
        self.audio_projection = ClapProjectionLayer(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds the patches."""
        return self.audio_model.get_input_embeddings()

    def forward(
        self,
        input_features: Tensor,
        is_longer: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        output_hidden_states_before_downsampling: bool = False,
        always_partition: bool = False,
    ) -> ClapAudioModelOutput | tuple[Any, ...]:
        """As `ClapAudioModel.forward`, with `audio_embeds` `(batch, projection_dim)`, not normalised."""
        tower = self.audio_model(
            input_features,
            is_longer,
            output_attentions,
            output_hidden_states,
            True,
            output_hidden_states_before_downsampling=output_hidden_states_before_downsampling,
            always_partition=always_partition,
        )
        output = ClapAudioModelOutput(
            audio_embeds=self.audio_projection(tower.pooler_output),
            last_hidden_state=tower.last_hidden_state,
            hidden_states=tower.hidden_states,
            attentions=tower.attentions,
        )
        as_object = self.config.use_return_dict if return_dict is None else return_dict
        return output if as_object else output.to_tuple()
