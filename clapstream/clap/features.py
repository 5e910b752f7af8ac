"""From sound to the log-mel spectrograms that the audio tower reads, as Hugging Face's CLAP makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clapstream.clap.arguments import count_or, require_count, require_number, require_one_of, warn
from clapstream.clap.batch import BatchFeature, check_return_tensors
from clapstream.clap.cropping import FUSED_VIEWS, RandomGenerator, fit, fuse
from clapstream.clap.extractor_settings import PADDINGS, TRUNCATIONS, ExtractorSettings
from clapstream.clap.mel import log_mel, without_empty_top
from clapstream.clap.mel_scale import MelScale
from clapstream.clap.padding import pad_features
from clapstream.clap.sounds import Clip, read_sounds


class ClapFeatureExtractor(ExtractorSettings):
    """Makes batches of log-mel spectrograms from mono sounds of any length.

    A sound shorter than `max_length_s` is padded: `repeatpad` repeats it whole as often as it fits and adds
    silence, `repeat` repeats it to the end, `pad` adds silence. Of a longer one `rand_trunc` takes a random crop,
    and `fusion` four views (the whole shrunk, a random crop of each third). `fusion` uses HTK filters and gives
    every sound four views, `rand_trunc` Slaney's and one.
    """

    model_input_names: ClassVar[list[str]] = ["input_features", "is_longer"]

    def __call__(
        self,
        raw_speech: Clip | Iterable[Clip],
        truncation: str | None = None,
        padding: bool | str | None = None,
        max_length: int | None = None,
        sampling_rate: int | None = None,
        return_tensors: str | None = None,
        *,
        device: torch.device | str | None = None,
        generator: RandomGenerator | None = None,
        seed: int | None = None,
    ) -> BatchFeature:
        """Spectrograms of one sound `(samples,)` or of several (a list, or `(batch, samples)`), full scale 1.0.

        `max_length` is in samples. `sampling_rate` is what the sounds were sampled at, taken on trust, with a
        warning, if None. `padding=True` is the setting, False adds silence.
        `return_tensors` is "pt", "np" or None for lists. `device` is where to compute; None is where the sound is.
        `generator` or `seed` makes the random crops repeatable; so does sound of exactly `max_length`.

        Returns:
            `input_features` in dB, float32 `(batch, views, frames, feature_size)`, views being 4 for fusion and 1
            otherwise, and `is_longer`, bool `(batch, 1)`: which rows have views that differ. With fusion at least
            one row of a batch, drawn at random, is marked so, as in the reference.

        Raises:
            ValueError: another sampling rate, sound that is empty or not mono, an argument outside its choices.
            TypeError: something that is not audio, or an argument of a wrong type.
        """
        truncation = self.truncation if truncation is None else truncation
        padding = self.padding if padding is None or padding is True else padding or "pad"
        require_one_of("truncation", truncation, TRUNCATIONS)
        require_one_of("padding", padding, PADDINGS)
        check_return_tensors(return_tensors)
        length = count_or("max_length", max_length, self.nb_max_samples)
        self._refuse_other_rate(sampling_rate)
        if generator is not None and seed is not None:
            raise ValueError("give either a generator or a seed")
        if generator is None:
            generator = np.random.default_rng(None if seed is None else require_count("seed", seed, least=0))
        elif not isinstance(generator, (np.random.Generator, np.random.RandomState)):
            raise TypeError(f"generator must be one of numpy.random, not {type(generator).__name__}")

        clips = read_sounds(raw_speech, device, self.fft_window_size // 2 + 1)
        if truncation == "fusion":
            features, is_longer = self._fused_features(clips, length, padding, generator)
        else:
            is_longer = [len(clip) > length for clip in clips]
            fitted = torch.stack([fit(clip, length, padding, generator) for clip in clips])
            features = list(self.log_mel(fitted, "slaney").unsqueeze(1))
        if sampling_rate is None:
            warn(
                f"no sampling_rate was given; audio at another rate than {self.sampling_rate} Hz is not noticed "
                f"and gives wrong embeddings (sampling_rate={self.sampling_rate} says that it is right)"
            )
        return pack(features, is_longer, return_tensors)

    def _refuse_other_rate(self, sampling_rate: int | None) -> None:
        """Raise ValueError for audio of another rate than the model's."""
        if sampling_rate is None:
            return
        require_number("sampling_rate", sampling_rate, 0)
        if sampling_rate != self.sampling_rate:
            raise ValueError(
                f"sampling_rate is {sampling_rate} Hz, the model was trained at {self.sampling_rate} Hz"
            )

    def pad(
        self,
        processed_features: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """One batch of rows `(length, feature_size)` of several lengths, filled up with `padding_value`.

        `padding` is True or "longest", "max_length" or False; `truncation` cuts to `max_length` before. Tensors
        make tensors and everything else makes arrays, unless `return_tensors` says otherwise.

        Raises:
            ValueError: an argument outside its choices, or entries that do not go together.
        """
        return pad_features(
            processed_features,
            self.model_input_names[0],
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=(
                self.return_attention_mask if return_attention_mask is None else return_attention_mask
            ),
            return_tensors=return_tensors,
            side=self.padding_side,
            value=self.padding_value,
        )

    def log_mel(self, waveform: Tensor, scale: MelScale | None = None, *, centered: bool = True) -> Tensor:
        """Log-mel in dB of sounds of equal length: `(batch, samples)` -> `(batch, frames, feature_size)`.

        `scale` defaults to the one that the extractor's `truncation` implies. `centered` as in `mel.log_mel`.
        """
        if scale is None:
            scale = "htk" if self.truncation == "fusion" else "slaney"
        return log_mel(
            waveform,
            self._filters(scale, waveform.device),
            self.fft_window_size,
            self.hop_length,
            centered=centered,
        )

    def _filters(self, scale: MelScale, device: torch.device) -> Tensor:
        if (scale, device) not in self._filters_on_device:
            filters = self.mel_filters if scale == "htk" else self.mel_filters_slaney
            self._filters_on_device[scale, device] = without_empty_top(filters).to(device)
        return self._filters_on_device[scale, device]

    def _fused_features(
        self, clips: list[Tensor], length: int, padding: str, generator: RandomGenerator
    ) -> tuple[list[Tensor], list[bool]]:
        """Four views `(4, frames, feature_size)` of each sound, and whether they differ."""
        frames = length // self.hop_length + 1
        spectrograms = self._whole_spectrograms(clips, length, padding, generator)
        # A sound less than a hop too long has no more frames than one that fits, and is used whole.
        is_longer = [len(spectrogram) > frames for spectrogram in spectrograms]
        views = [
            fuse(spectrogram, frames, generator) if longer else spectrogram.expand(FUSED_VIEWS, -1, -1)
            for spectrogram, longer in zip(spectrograms, is_longer, strict=True)
        ]
        if not any(is_longer):
            is_longer[int(generator.choice(len(clips)))] = True
        return views, is_longer

    def _whole_spectrograms(
        self, clips: list[Tensor], length: int, padding: str, generator: RandomGenerator
    ) -> list[Tensor]:
        """Spectrogram `(frames, feature_size)` of each whole sound; of all up to `length` samples at once."""
        spectrograms = {
            row: self.log_mel(clip[None], "htk")[0] for row, clip in enumerate(clips) if len(clip) > length
        }
        fitting = [row for row in range(len(clips)) if row not in spectrograms]
        if fitting:
            fitted = torch.stack([fit(clips[row], length, padding, generator) for row in fitting])
            spectrograms.update(zip(fitting, self.log_mel(fitted, "htk"), strict=True))
        return [spectrograms[row] for row in range(len(clips))]


def pack(features: list[Tensor], is_longer: list[bool], return_tensors: str | None) -> BatchFeature:
    """The batch in the form that the caller asked for."""
    marks = [[longer] for longer in is_longer]
    if return_tensors == "pt":
        stacked = torch.stack(features)
        return BatchFeature(input_features=stacked, is_longer=torch.tensor(marks, device=stacked.device))
    arrays = [feature.detach().cpu().numpy() for feature in features]
    if return_tensors == "np":
        return BatchFeature(input_features=np.stack(arrays), is_longer=np.array(marks))
    return BatchFeature(input_features=arrays, is_longer=marks)
