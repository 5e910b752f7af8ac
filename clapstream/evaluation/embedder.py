"""Embeds clips and texts with a whole CLAP checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.audio.files.recording import recording_blocks
from clapstream.audio.source import SourceError
from clapstream.clap import ClapModel, ClapProcessor
from clapstream.evaluation.clips import ClipListError, LabelledClip
from clapstream.inference.precision import choose_device

_logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
OnProgress = Callable[[int, int], None]
"""Called with the number of clips that are done and the number of all clips."""

CLIP_SECONDS = 10
"""Longer clips are cut to CLAP's window; shorter ones are repeat-padded, as in training."""
BATCH = 16


class Embedder(Protocol):
    """Anything that embeds sounds and texts into one space: `ClapEmbedder`, or what it is compared with."""

    def embed_audio(self, clips: Sequence[Floats]) -> Floats:
        """Unit-length embeddings `(clips, dim)` of mono 48 kHz samples `(samples,)` each."""

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Unit-length embeddings `(texts, dim)`."""


class ClapEmbedder:
    """A CLAP checkpoint: `bundled`, a directory or a hub id.

    Raises DeviceError for a device that is not there, CheckpointError for a checkpoint that cannot be used.
    """

    def __init__(self, checkpoint: str, device: str = "auto") -> None:
        self._device = choose_device(device)
        self._model = ClapModel.from_pretrained(checkpoint).to(self._device).prepare_for_inference()
        self._processor = ClapProcessor.from_pretrained(checkpoint)

    @torch.inference_mode()
    def embed_audio(self, clips: Sequence[Floats]) -> Floats:
        """Unit-length embeddings `(clips, dim)` of mono 48 kHz samples `(samples,)` each."""
        batch = self._processor(audio=list(clips), sampling_rate=RATE_HZ, return_tensors="pt")
        features, is_longer = batch["input_features"].to(self._device), batch["is_longer"].to(self._device)
        return _as_array(self._model.get_audio_features(features, is_longer))

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Unit-length embeddings `(texts, dim)`."""
        batch = self._processor(text=list(texts), padding=True, return_tensors="pt")
        ids, mask = batch["input_ids"].to(self._device), batch["attention_mask"].to(self._device)
        return _as_array(self._model.get_text_features(ids, mask))


def embed_clips(clips: Sequence[LabelledClip], embedder: Embedder, progress: OnProgress | None = None) -> Floats:
    """Unit-length embeddings `(clips, dim)` of the first 10 s of each clip.

    Raises ClipListError for audio that cannot be read.
    """
    embeddings = []
    for batch in embed_sounds(map(_read, clips), embedder):
        embeddings += list(batch)
        if progress is not None:
            progress(len(embeddings), len(clips))
    return np.stack(embeddings)


def embed_sounds(sounds: Iterable[Floats], embedder: Embedder) -> Iterator[Floats]:
    """Unit-length embeddings `(batch, dim)`, batch by batch, of mono 48 kHz samples `(samples,)` each."""
    remaining = iter(sounds)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield embedder.embed_audio(batch)


def _read(clip: LabelledClip) -> Floats:
    """The first `CLIP_SECONDS` of a clip, or the sound before a damaged place: samples `(samples,)`."""
    read = []
    try:
        with contextlib.closing(recording_blocks(clip.path)) as blocks:
            for block in blocks:
                read.append(block.samples)
                if block.end_sample >= CLIP_SECONDS * RATE_HZ:
                    break
    except SourceError as error:
        if not read:
            raise ClipListError(f"line {clip.line}: {error}") from error
        _logger.warning("line %d: %s; only the sound before that is used", clip.line, error)
    return np.concatenate(read)[: CLIP_SECONDS * RATE_HZ]


def _as_array(embeddings: torch.Tensor) -> Floats:
    array: Floats = embeddings.float().cpu().numpy()
    return array
