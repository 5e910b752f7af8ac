"""Exports the tower of transformers to ONNX, in a process of its own: `python -m benchmarks.export`."""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import torch

from benchmarks.peers import ReferenceFeatures
from benchmarks.sounds import windows


class Tower(torch.nn.Module):
    """Features to embeddings, with nothing else going in or out."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(batch, views, frames, mels)` -> `(batch, dim)`."""
        embeddings: torch.Tensor = self.model(input_features=features, is_longer=None).audio_embeds
        return embeddings


def main() -> None:
    """Write the file that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("path", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--int8", type=Path, help="quantise this exported file instead")
    options = parser.parse_args()
    options.path.parent.mkdir(parents=True, exist_ok=True)
    if options.int8 is not None:
        quantise(options.int8, options.path)
    else:
        export(options.checkpoint, options.path, options.batch)


def export(checkpoint: Path, path: Path, batch: int) -> None:
    """Trace the tower for one batch size: its windows are cut by shape."""
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.ClapAudioModelWithProjection.from_pretrained(checkpoint).eval()
    features = ReferenceFeatures(checkpoint).features(windows(batch))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Tower(model),
            (features,),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["features"],
            output_names=["embeddings"],
        )


def quantise(exported: Path, path: Path) -> None:
    """Dynamic int8, as ONNX Runtime's documentation has it for transformers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # a line for each of hundreds of index tensors
    quantize_dynamic(exported, path, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main()
