"""From sound to the log-mel spectrograms that the audio tower reads, as Hugging Face's CLAP makes them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.hub import CheckpointError, CheckpointSource, SourceOptions, read_json, write_json
from clapstream.clap.mel import MelScale, log_mel, mel_filters, without_empty_top

FEATURE_EXTRACTOR_NAME = "preprocessor_config.json"
TRUNCATIONS = ("fusion", "rand_trunc")
PADDINGS = ("repeatpad", "repeat", "pad")
FUSED_VIEWS = 4
"""What fusion gives the tower: the whole sound shrunk, and a crop from its first, middle and last third."""

Clip = NDArray[Any] | Tensor | Sequence[float]
RandomGenerator = np.random.Generator | np.random.RandomState


class BatchFeature(dict[str, Any]):
    """A mapping to call a model with, whose entries are readable as attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move the tensors to a device, and the floating-point ones to a precision, in place."""
        for name, value in self.items():
            if isinstance(value, Tensor):
                self[name] = value.to(device, dtype if value.is_floating_point() else None)
        return self


class ClapFeatureExtractor:
    """Makes batches of log-mel spectrograms from mono sounds of any length.

    A sound shorter than `max_length_s` is padded: `repeatpad` repeats it whole as often as it fits and adds
    silence, `repeat` repeats it to the end, `pad` adds silence. Of a longer one `rand_trunc` takes a random crop,
    and `fusion` four views (the whole shrunk, a random crop of each third). `fusion` uses HTK filters and gives
    every sound four views, `rand_trunc` Slaney's and one. `padding_value`, `return_attention_mask`, `top_db` and
    unknown settings are kept in the file and change nothing, as in the reference.
    """

    model_input_names = ("input_features", "is_longer")

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 48_000,
        hop_length: int = 480,
        max_length_s: float = 10,
        fft_window_size: int = 1024,
        padding_value: float = 0.0,
        return_attention_mask: bool = False,
        frequency_min: float = 0,
        frequency_max: float = 14_000,
        top_db: int | None = None,
        truncation: str = "fusion",
        padding: str = "repeatpad",
        **kept: Any,
    ) -> None:
        require_one_of("truncation", truncation, TRUNCATIONS)
        require_one_of("padding", padding, PADDINGS)
        for name, value in {"padding_side": "right", **kept}.items():
            setattr(self, name, value)
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.hop_length = hop_length
        self.max_length_s = max_length_s
        self.fft_window_size = fft_window_size
        self.padding_value = padding_value
        self.return_attention_mask = return_attention_mask
        self.frequency_min = frequency_min
        self.frequency_max = frequency_max
        self.top_db = top_db
        self.truncation = truncation
        self.padding = padding
        self.nb_frequency_bins = fft_window_size // 2 + 1
        self.nb_max_samples = int(max_length_s * sampling_rate)
        self.mel_filters = self._make_filters("htk")
        self.mel_filters_slaney = self._make_filters("slaney")
        self._filters_on_device: dict[tuple[MelScale, torch.device], Tensor] = {}

    def _make_filters(self, scale: MelScale) -> NDArray[np.float64]:
        return mel_filters(
            scale,
            self.feature_size,
            self.fft_window_size,
            self.sampling_rate,
            self.frequency_min,
            self.frequency_max,
        )

    def __call__(
        self,
        raw_speech: Clip | Sequence[Clip],
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

        `max_length` is in samples. `sampling_rate` is what the sounds were sampled at, taken on trust if None.
        `return_tensors` is "pt", "np" or None for lists. `device` is where to compute; None is where the sound is.
        `generator` or `seed` makes the random crops repeatable; so does sound of exactly `max_length`.

        Returns:
            `input_features` in dB, float32 `(batch, views, frames, feature_size)`, views being 4 for fusion and 1
            otherwise, and `is_longer`, bool `(batch, 1)`: which rows have views that differ. With fusion at least
            one row of a batch, drawn at random, is marked so, as in the reference.

        Raises:
            ValueError: another sampling rate, sound that is empty or not mono, an argument outside its choices.
        """
        truncation = self.truncation if truncation is None else truncation
        padding = self.padding if padding is None or padding is True else padding or "pad"
        require_one_of("truncation", truncation, TRUNCATIONS)
        require_one_of("padding", padding, PADDINGS)
        require_one_of("return_tensors", return_tensors, (None, "np", "pt"))
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"sampling_rate is {sampling_rate} Hz, the model was trained at {self.sampling_rate} Hz"
            )
        if generator is not None and seed is not None:
            raise ValueError("give either a generator or a seed")
        generator = np.random.default_rng(seed) if generator is None else generator

        clips = [as_clip(clip, device) for clip in as_list(raw_speech)]
        length = max_length or self.nb_max_samples
        if truncation == "fusion":
            features, is_longer = self._fused_features(clips, length, padding, generator)
        else:
            is_longer = [len(clip) > length for clip in clips]
            fitted = torch.stack([fit(clip, length, padding, generator) for clip in clips])
            features = list(self.log_mel(fitted, "slaney").unsqueeze(1))
        return pack(features, is_longer, return_tensors)

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

    def to_dict(self) -> dict[str, Any]:
        """Every setting, as values that JSON can hold; not the filters."""
        hidden = ("mel_filters", "mel_filters_slaney", "_filters_on_device")
        values = {name: copy.deepcopy(value) for name, value in self.__dict__.items() if name not in hidden}
        return {**values, "feature_extractor_type": type(self).__name__}

    @classmethod
    def from_dict(cls, feature_extractor_dict: Mapping[str, Any], **overrides: Any) -> Self:
        """Build from `to_dict` or a parsed `preprocessor_config.json`; `overrides` win."""
        return cls(**{**feature_extractor_dict, **overrides})

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Write `preprocessor_config.json` into a directory, which is made if it is missing."""
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / FEATURE_EXTRACTOR_NAME, self.to_dict())

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str], **options: Unpack[SourceOptions]
    ) -> Self:
        """Read `preprocessor_config.json` of a directory, a hub id or "bundled".

        Raises:
            CheckpointError: it is missing, no JSON, or has a value that is not allowed.
        """
        return cls.from_source(CheckpointSource(pretrained_model_name_or_path, **options))

    @classmethod
    def from_source(cls, source: CheckpointSource) -> Self:
        """Read `preprocessor_config.json` where `source` points to."""
        path = source.require(FEATURE_EXTRACTOR_NAME)
        try:
            return cls.from_dict(read_json(path))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error


def require_one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError naming the argument and its choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def as_list(raw_speech: Clip | Sequence[Clip]) -> Iterator[Clip]:
    """The single sounds of what a caller may hand over."""
    if isinstance(raw_speech, (np.ndarray, Tensor)):
        if raw_speech.ndim > 2:
            raise ValueError(f"sounds must be mono, (samples,) or (batch, samples), not {tuple(raw_speech.shape)}")
        yield from raw_speech if raw_speech.ndim == 2 else [raw_speech]
    elif len(raw_speech) > 0 and isinstance(raw_speech[0], (np.ndarray, Tensor, Sequence)):
        yield from raw_speech  # type: ignore[misc]  # told apart by its first element
    else:
        yield raw_speech  # type: ignore[misc]


def as_clip(clip: Clip, device: torch.device | str | None) -> Tensor:
    """One sound in double precision, which the transform needs anyway: `(samples,)`."""
    if not isinstance(clip, Tensor):
        clip = torch.from_numpy(np.require(clip, requirements=["C", "W"]))
    if clip.ndim != 1 or len(clip) == 0:
        raise ValueError(f"a sound must be mono and not empty, (samples,), not {tuple(clip.shape)}")
    return clip.to(device).double()


def fit(clip: Tensor, length: int, padding: str, generator: RandomGenerator) -> Tensor:
    """Pad or crop a sound to exactly `length` samples."""
    if len(clip) > length:
        start = int(generator.choice(len(clip) - length + 1))
        return clip[start : start + length]
    if padding == "repeat":
        return clip.repeat(length // len(clip) + 1)[:length]
    if padding == "repeatpad":
        clip = clip.repeat(length // len(clip))
    return torch.nn.functional.pad(clip, (0, length - len(clip)))


def fuse(spectrogram: Tensor, frames: int, generator: RandomGenerator) -> Tensor:
    """Four views `(4, frames, mels)` of a longer spectrogram: shrunk, and a random crop of each third of it."""
    size = (frames, spectrogram.shape[-1])
    shrunk = torch.nn.functional.interpolate(spectrogram[None, None], size=size, mode="bilinear")[0, 0]
    starts = np.array_split(np.arange(len(spectrogram) - frames + 1), FUSED_VIEWS - 1)
    crops = [pick(third, generator) for third in starts]
    return torch.stack([shrunk, *(spectrogram[start : start + frames] for start in crops)])


def pick(starts: NDArray[np.intp], generator: RandomGenerator) -> int:
    """One of a third's possible starts; the sound's first if it has none (barely longer than a window)."""
    return int(starts[generator.choice(len(starts))]) if len(starts) else 0


def pack(features: list[Tensor], is_longer: list[bool], return_tensors: str | None) -> BatchFeature:
    """The batch in the form that the caller asked for."""
    marks = [[longer] for longer in is_longer]
    if return_tensors == "pt":
        stacked = torch.stack(features)
        return BatchFeature(input_features=stacked, is_longer=torch.tensor(marks, device=stacked.device))
    arrays = [feature.cpu().numpy() for feature in features]
    if return_tensors == "np":
        return BatchFeature(input_features=np.stack(arrays), is_longer=np.array(marks))
    return BatchFeature(input_features=arrays, is_longer=marks)
