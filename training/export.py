"""Put the trained parts together as a checkpoint directory that any CLAP reader loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from clapstream.clap.model import ClapModel
from training.paths import ALIGNED_TEXT, AUDIO_STATE, CACHE
from training.student import AUDIO_SIDE, model_config
from training.text_tower import TOKENIZER_FILES

PREPROCESSOR = {
    "chunk_length_s": 10,
    "feature_extractor_type": "ClapFeatureExtractor",
    "feature_size": 64,
    "fft_window_size": 1024,
    "frequency_max": 14000,
    "frequency_min": 50,
    "hop_length": 480,
    "max_length_s": 10,
    "n_fft": 1024,
    "nb_frequency_bins": 513,
    "nb_max_frames": 1000,
    "nb_max_samples": 480000,
    "padding": "repeatpad",
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "ClapProcessor",
    "return_attention_mask": False,
    "sampling_rate": 48000,
    "top_db": None,
    "truncation": "rand_trunc",
}
"""The values of the published unfused checkpoint."""


def assemble(kept: float) -> ClapModel:
    """The whole model from the newest training state's running average and the aligned text side.

    If training took up a checkpoint, `kept` is the share of it in the audio side: weights between where fine-tuning
    began and where it ended do better than either end (Wortsman et al., arXiv 2109.01903).
    """
    state = torch.load(AUDIO_STATE)
    average, begun_from = state["average"], state["begun_from"]
    weights = {key: value for key, value in average.items() if key.startswith(AUDIO_SIDE)}
    for key, value in begun_from.items():
        if value.is_floating_point():
            weights[key] = weights[key].lerp(value, kept)
    weights |= load_file(ALIGNED_TEXT)
    weights |= {"logit_scale_a": average["logit_scale"], "logit_scale_t": average["logit_scale"]}
    model = ClapModel(model_config())
    model.load_state_dict(weights)
    return model.eval()


def export(folder: Path, kept: float) -> None:
    """Write the checkpoint to `folder`, see `assemble`: matrices as float16, vectors as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        key: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for key, value in assemble(kept).state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = model_config().to_dict() | {"architectures": ["ClapModel"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n", encoding="utf-8")
    for file in TOKENIZER_FILES:
        shutil.copyfile(CACHE / "text" / file, folder / file)
