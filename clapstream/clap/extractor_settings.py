"""The feature extractor's settings: checked when it is made, and kept in a checkpoint's file."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clapstream.clap.arguments import require_count, require_number, require_one_of
from clapstream.clap.checkpoint_files import read_json, write_json
from clapstream.clap.hub import CheckpointError, CheckpointSource, split_options
from clapstream.clap.mel import mel_filters
from clapstream.clap.mel_scale import MelScale

FEATURE_EXTRACTOR_NAME = "preprocessor_config.json"
PROCESSOR_NAME = "processor_config.json"
"""Where newer versions of transformers keep the feature extractor's settings."""

TRUNCATIONS = ("fusion", "rand_trunc")
PADDINGS = ("repeatpad", "repeat", "pad")


class ExtractorSettings:
    """The settings with their names and defaults in Hugging Face's documentation, and the filters they imply.

    `padding_value`, `return_attention_mask`, `top_db` and unknown settings are kept in the file and change no
    spectrogram, as in the reference.
    """

    padding_side: str

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
        check_settings(
            feature_size, sampling_rate, hop_length, max_length_s, fft_window_size, frequency_min, frequency_max
        )
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

    def to_dict(self) -> dict[str, Any]:
        """Every setting, as values that JSON can hold; not the filters."""
        hidden = ("mel_filters", "mel_filters_slaney", "_filters_on_device")
        values = {name: copy.deepcopy(value) for name, value in self.__dict__.items() if name not in hidden}
        return {**values, "feature_extractor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """`to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | PathLike[str]) -> None:
        """Write `to_json_string` to a file."""
        Path(json_file_path).write_text(self.to_json_string(), encoding="utf-8")

    @classmethod
    def from_json_file(cls, json_file: str | PathLike[str]) -> Self:
        """Read what `to_json_file` wrote."""
        return cls.from_dict(read_json(Path(json_file)))

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    @classmethod
    def from_dict(cls, feature_extractor_dict: Mapping[str, Any], **overrides: Any) -> Self:
        """Build from `to_dict` or a parsed `preprocessor_config.json`; `overrides` win."""
        return cls(**{**feature_extractor_dict, **overrides})

    def save_pretrained(self, save_directory: str | PathLike[str]) -> list[str]:
        """Write `preprocessor_config.json` into a directory, which is made if it is missing; return its path."""
        directory = Path(save_directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / FEATURE_EXTRACTOR_NAME, self.to_dict())
        return [str(directory / FEATURE_EXTRACTOR_NAME)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Self:
        """Read the settings of a directory, a hub id or "bundled".

        `options` are those of `SourceOptions`; others are settings to take instead of the file's.

        Raises:
            CheckpointError: the file is missing, no JSON, or has a value that is not allowed.
        """
        where, overrides = split_options(options)
        return cls.from_source(CheckpointSource(pretrained_model_name_or_path, **where), **overrides)

    @classmethod
    def from_source(cls, source: CheckpointSource, **overrides: Any) -> Self:
        """Read the settings where `source` points to: a file of their own or the processor's; `overrides` win."""
        path = source.require(FEATURE_EXTRACTOR_NAME, PROCESSOR_NAME)
        settings = read_json(path)
        if path.name == PROCESSOR_NAME:
            settings = settings.get("feature_extractor", {})
            if not isinstance(settings, dict) or not settings:
                raise CheckpointError(f"{path}: has no feature_extractor")
        try:
            stored = cls.from_dict(settings)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error
        return cls.from_dict(settings, **overrides) if overrides else stored


def check_settings(
    feature_size: int,
    sampling_rate: int,
    hop_length: int,
    max_length_s: float,
    fft_window_size: int,
    frequency_min: float,
    frequency_max: float,
) -> None:
    """Raise TypeError or ValueError, naming the setting, for values from which no spectrogram can be computed."""
    require_count("feature_size", feature_size)
    require_count("sampling_rate", sampling_rate)
    require_count("hop_length", hop_length)
    require_count("fft_window_size", fft_window_size, least=2)
    require_number("max_length_s", max_length_s, 0)
    if max_length_s * sampling_rate < 1:
        raise ValueError(f"max_length_s must be a sample or more, not {max_length_s}")
    require_number("frequency_min", frequency_min, 0)
    require_number("frequency_max", frequency_max, 0)
    if frequency_min >= frequency_max:
        raise ValueError(f"frequency_min {frequency_min} must be below frequency_max {frequency_max}")
