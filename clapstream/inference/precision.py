"""Where and how precisely the audio tower runs: chosen for the hardware, checked on a probe window."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.inference.embedding_cache import EmbeddingCache

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""A faster precision is used only if its embedding of the probe window is at least this close to fp32's."""

PROBE_NAME = "probe window 1"
"""Under which the embedding of `probe_window` is remembered: another sound needs another name."""

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DeviceError(Exception):
    """The device that the configuration asks for is not there."""


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises DeviceError for a device that torch does not see."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"model.device: {wanted} is not there; torch {torch.__version__} sees {torch.cuda.device_count()} GPUs"
        )
    return device


def choose_precision(wanted: str, native_bf16: bool, probe: Callable[[torch.dtype], float]) -> torch.dtype:
    """The precision to run an fp32 tower in; `auto` takes bf16 where hardware has it and the probe agrees.

    `probe` tells the cosine between what the tower makes of a window in a precision and in fp32.
    """
    if wanted != "auto":
        return _PRECISIONS[wanted]
    if not native_bf16:
        return torch.float32
    cosine = probe(torch.bfloat16)
    if cosine >= LEAST_COSINE:
        return torch.bfloat16
    _logger.warning("bf16 is off on this machine: cosine %.5f with fp32 on the probe window", cosine)
    return torch.float32


def probe_cosine(
    tower: ClapAudioModelWithProjection,
    extractor: ClapFeatureExtractor,
    cache: EmbeddingCache,
    dtype: torch.dtype,
) -> float:
    """Cosine of the probe window's embedding in `dtype` with that of the tower as it is, in single precision.

    The latter does not depend on the machine, so the cache remembers it: most starts run the tower in `dtype` only.
    The tower is left in `dtype` and prepared for inference: a copy would double the memory that a start needs.
    """
    device = tower.device
    batch = extractor(probe_window(), sampling_rate=RATE_HZ, return_tensors="pt", device=device, seed=0)
    features = batch["input_features"]
    is_longer = torch.zeros((1, 1), dtype=torch.bool, device=device)

    def embed() -> Floats:
        with torch.inference_mode():
            embeds = tower(input_features=features, is_longer=is_longer).audio_embeds
            embedding: Floats = torch.nn.functional.normalize(embeds[0].float(), dim=-1).cpu().numpy()
        return embedding

    exact = cache.embedding(PROBE_NAME, embed)
    tower.to(dtype).prepare_for_inference()
    return float(exact @ embed())


def probe_window() -> torch.Tensor:
    """10 s at 48 kHz with something everywhere: a sweep with a pulse twice a second over faint noise.

    Made of arithmetic alone, so that it is the same sound with every version of PyTorch.
    """
    samples = torch.arange(480_000)
    seconds = samples.double() / 48_000
    turns = 60 * seconds + 300 * seconds**2
    sweep = torch.sin(2 * torch.pi * (turns - turns.floor()).float())
    pulse = torch.exp(-30 * seconds[:24_000]).float().repeat(20)
    noise = (samples**2 * 40_503 % 65_536).float() / 32_768 - 1  # of squares: each frequency is as strong as any
    return 0.09 * sweep * pulse + 0.01 * noise
