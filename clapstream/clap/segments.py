"""Embeddings of segments: the shortest stretches of time that the audio tower tells apart.

HTS-AT (Chen et al. 2022) finds events frame by frame in the tower's last map, averaged over frequency. That average
has one column for each segment: 16 of 0.625 s in the bundled geometry, 32 of 0.3125 s in the default one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap.projection import ClapProjectionLayer
from clapstream.clap.segment_grid import SegmentGrid

if TYPE_CHECKING:
    from clapstream.clap.audio import ClapAudioModel


class AudioEmbeddings(NamedTuple):
    """Unit-length embeddings: of whole sounds `(batch, dim)` and of their segments `(batch, segments, dim)`."""

    audio_embeds: Tensor
    segment_embeds: Tensor


class SegmentFeatures(nn.Module):
    """Adds segment embeddings to a model that has an audio tower and its projection."""

    audio_model: ClapAudioModel
    audio_projection: ClapProjectionLayer

    def embed_audio(self, input_features: Tensor, is_longer: Tensor | None = None) -> AudioEmbeddings:
        """Embeddings of sounds and of their segments, from one pass through the tower, at least in float32.

        Arguments as of `get_audio_features`. Within rounding, `audio_embeds` `(batch, projection_dim)` are those of
        `get_audio_features`, `segment_embeds` `(batch, segments, projection_dim)` of `get_audio_segment_features`.
        """
        output = self.audio_model(input_features, is_longer, return_dict=True)
        segments = self._segment_grid.states(output.last_hidden_state)
        # Projected together, because reading the projection's weights takes most of its time.
        projected = self.audio_projection(torch.cat([output.pooler_output[:, None], segments], dim=1))
        wide = torch.promote_types(projected.dtype, torch.float32)
        embeddings = functional.normalize(projected.to(wide), dim=-1)
        return AudioEmbeddings(embeddings[:, 0], embeddings[:, 1:])

    def get_audio_segment_features(self, input_features: Tensor, is_longer: Tensor | None = None) -> Tensor:
        """Unit-length embeddings of each sound's segments, `(batch, segments, projection_dim)`, in order of time.

        Arguments as of `get_audio_features`; `segment_spans` tells the seconds that each segment covers. A segment
        is the mean over frequency of one column of the last hidden state (HTS-AT's frame-wise output, Chen et al.
        2022), projected as the pooled output is, which is how the bundled tower was trained; a tower that was not
        trained for it needs a calibration of its own. Attention mixes the whole window into each segment, so a
        segment is about its stretch of time in its context.

        The mean of the segments' states is the tower's pooled output if all cover the same number of tokens. The
        projection is not linear, so the mean of the segments' embeddings is not the sound's embedding.

        Where `is_longer` marks a sound, the segments divide the whole of it, and with the fusion "aff_2d" its three
        crops are mixed into them regardless of their time. The fused extractor marks one sound at random if none
        is longer: leave `is_longer` out where segments matter.
        """
        output = self.audio_model(input_features, is_longer, return_dict=True)
        states = self._segment_grid.states(output.last_hidden_state)
        return functional.normalize(self.audio_projection(states), dim=-1)

    def segment_spans(self, window_seconds: float = 10.0) -> list[tuple[float, float]]:
        """Start and end in seconds of each segment of a window, padding included; exact to one STFT frame.

        The extractor's windows are `ClapFeatureExtractor.max_length_s` long.
        """
        return [(start * window_seconds, end * window_seconds) for start, end in self._segment_grid.edges]

    @property
    def _segment_grid(self) -> SegmentGrid:
        return self.audio_model.audio_encoder.segment_grid
