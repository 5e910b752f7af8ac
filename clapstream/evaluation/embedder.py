"""Clips and texts into CLAP's common space: what is left of a checkpoint when only its embeddings matter."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
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
"""Called with the number of clips that are done and of all."""

CLIP_SECONDS = 10
"""Only so much of a clip is heard: CLAP's window. What is shorter is repeat-padded, as in training."""
BATCH = 16


class Embedder(Protocol):
    """What is evaluated: anything that puts sounds and texts into one space."""

    def embed_audio(self, clips: Sequence[Floats]) -> Floats:
        """Unit-length embeddings `(clips, dim)` of mono 48 kHz samples `(frames,)` each."""

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
        """Unit-length embeddings `(clips, dim)` of mono 48 kHz samples `(frames,)` each."""
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
    """Embeddings `(clips, dim)` of the first 10 s of each clip; raises ClipListError for unreadable audio."""
    embeddings = []
    for first in range(0, len(clips), BATCH):
        batch = clips[first : first + BATCH]
        embeddings.append(embedder.embed_audio([_read(clip) for clip in batch]))
        if progress is not None:
            progress(first + len(batch), len(clips))
    return np.concatenate(embeddings)


def _read(clip: LabelledClip) -> Floats:
    """The first `CLIP_SECONDS` of a clip, or what comes before a damage: samples `(frames,)`."""
    heard = []
    try:
        with contextlib.closing(recording_blocks(clip.path)) as blocks:
            for block in blocks:
                heard.append(block.samples)
                if block.end_sample >= CLIP_SECONDS * RATE_HZ:
                    break
    except SourceError as error:
        if not heard:
            raise ClipListError(f"line {clip.line}: {error}") from error
        _logger.warning("line %d: %s; only the sound before that counts", clip.line, error)
    return np.concatenate(heard)[: CLIP_SECONDS * RATE_HZ]


def _as_array(embeddings: torch.Tensor) -> Floats:
    array: Floats = embeddings.float().cpu().numpy()
    return array
