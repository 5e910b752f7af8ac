"""The ways to run CLAP's audio tower, behind one interface: windows -> features -> embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
RATE_HZ = 48_000
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Peer(Protocol):
    """One way to run the tower."""

    def features(self, windows: Sequence[Floats]) -> Any:
        """What `embed` reads, of mono 48 kHz windows `(480 000,)`; computed when this returns."""

    def hop_features(self, window: Floats, first_sample: int) -> Any:
        """Features of the window of a stream that begins at `first_sample`; windows come in order."""

    def embed(self, features: Any) -> Floats:
        """Embeddings `(windows, dim)` in host memory."""


def make_peer(name: str, checkpoint: Path, exported: Path | None, threads: int) -> Peer:
    """The peer of that name; `exported` is the ONNX file that some peers need."""
    kind, precision, *device = name.split()
    torch.set_num_threads(threads)
    where = torch.device(device[0] if device else "cpu")
    if kind == "clapstream" and device[1:] == ["graph"]:
        return ClapstreamGraph(checkpoint, precision, where)
    if kind == "clapstream":
        return Clapstream(checkpoint, PRECISIONS[precision], where)
    if kind == "transformers":
        return Transformers(checkpoint, where)
    if exported is None:
        raise ValueError(f"{name} needs an exported model")
    if kind == "onnxruntime":
        return OnnxRuntime(checkpoint, exported, threads)
    if kind == "openvino":
        return OpenVino(checkpoint, exported, precision, threads)
    raise ValueError(f"there is no peer {name!r}")


class Clapstream:
    """This project: its extractor and its tower."""

    def __init__(self, checkpoint: Path, precision: torch.dtype, device: torch.device) -> None:
        from clapstream.clap.audio import ClapAudioModelWithProjection
        from clapstream.clap.features import ClapFeatureExtractor
        from clapstream.clap.streaming import StreamingLogMel

        self._extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
        self._streaming = StreamingLogMel(self._extractor)
        tower = ClapAudioModelWithProjection.from_pretrained(checkpoint).to(device, precision)
        self._tower = tower.prepare_for_inference()
        self._device = device

    def features(self, windows: Sequence[Floats]) -> torch.Tensor:
        batch = self._extractor(list(windows), sampling_rate=RATE_HZ, return_tensors="pt", device=self._device)
        return synchronised(batch["input_features"])

    def hop_features(self, window: Floats, first_sample: int) -> torch.Tensor:
        return self._streaming.log_mel(torch.from_numpy(window), self, first_sample)

    @torch.inference_mode()
    def embed(self, features: torch.Tensor) -> Floats:
        found: Floats = self._tower(features).audio_embeds.float().cpu().numpy()
        return found


class ClapstreamGraph:
    """This project as the daemon runs it on a GPU: from sound to embedding in one piece, all of it in `embed`."""

    def __init__(self, checkpoint: Path, precision: str, device: torch.device) -> None:
        from benchmarks.model import load_embedder
        from clapstream.config import ModelSettings

        settings = {"checkpoint": str(checkpoint), "device": str(device), "precision": precision}
        self._embed = load_embedder(ModelSettings.model_validate(settings))

    def features(self, windows: Sequence[Floats]) -> Sequence[Floats]:
        return windows

    def hop_features(self, window: Floats, first_sample: int) -> Floats:
        return window

    def embed(self, features: Sequence[Floats]) -> Floats:
        return self._embed(features)


class ReferenceFeatures:
    """The extractor of transformers, which every peer but ours is used with."""

    def __init__(self, checkpoint: Path) -> None:
        import transformers

        transformers.logging.set_verbosity_error()
        self._extractor = transformers.ClapFeatureExtractor.from_pretrained(checkpoint)

    def features(self, windows: Sequence[Floats]) -> Any:
        batch = self._extractor(list(windows), sampling_rate=RATE_HZ, return_tensors="pt")
        return batch["input_features"].float()

    def hop_features(self, window: Floats, first_sample: int) -> Any:
        return self.features([window])


class Transformers(ReferenceFeatures):
    """Hugging Face's model as it comes."""

    def __init__(self, checkpoint: Path, device: torch.device) -> None:
        super().__init__(checkpoint)
        import transformers

        self._tower = transformers.ClapAudioModelWithProjection.from_pretrained(checkpoint).eval().to(device)
        self._device = device

    def features(self, windows: Sequence[Floats]) -> torch.Tensor:
        return synchronised(super().features(windows).to(self._device))

    @torch.inference_mode()
    def embed(self, features: torch.Tensor) -> Floats:
        found: Floats = self._tower(input_features=features, is_longer=None).audio_embeds.cpu().numpy()
        return found


class OnnxRuntime(ReferenceFeatures):
    """The exported model in ONNX Runtime; int8 is in the file."""

    def __init__(self, checkpoint: Path, exported: Path, threads: int) -> None:
        super().__init__(checkpoint)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])

    def embed(self, features: torch.Tensor) -> Floats:
        found: Floats = self._session.run(None, {"features": features.numpy()})[0]
        return found


class OpenVino(ReferenceFeatures):
    """The exported model in OpenVINO."""

    def __init__(self, checkpoint: Path, exported: Path, precision: str, threads: int) -> None:
        super().__init__(checkpoint)
        import openvino

        options = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._model = openvino.Core().compile_model(exported, "CPU", options)

    def embed(self, features: torch.Tensor) -> Floats:
        found: Floats = self._model(features.numpy())[0]
        return found


def synchronised(features: torch.Tensor) -> torch.Tensor:
    """The features, once they are computed: a GPU's clock must not run on into the tower's time."""
    if features.device.type == "cuda":
        torch.cuda.synchronize(features.device)
    return features
