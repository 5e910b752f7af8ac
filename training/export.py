"""Puts the trained parts together as a checkpoint directory that any CLAP reader loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from clapstream.clap import ClapModel
from training import paths
from training.features import EXTRACTOR
from training.geometry import model_config
from training.student import AUDIO_SIDE
from training.text_tokenizer import TOKENIZER_FILES


def assemble(kept: float) -> ClapModel:
    """The whole model from the last training state's running average and the aligned text side.

    If training resumed from a checkpoint, `kept` is the share of its weights in the audio side: weights between the
    start and the end of fine-tuning do better than either (Wortsman et al., arXiv 2109.01903).
    """
    state = torch.load(paths.audio_state())
    average, resumed_from = state["average"], state["resumed_from"]
    weights = {key: value for key, value in average.items() if key.startswith(AUDIO_SIDE)}
    for key, value in resumed_from.items():
        if value.is_floating_point():
            weights[key] = weights[key].lerp(value, kept)
    texts = load_file(paths.aligned_text())
    weights |= texts
    weights |= {"logit_scale_a": average["logit_scale"], "logit_scale_t": average["logit_scale"]}
    model = ClapModel(model_config(len(texts["text_model.embeddings.word_embeddings.weight"])))
    model.load_state_dict(weights)
    return model.eval()


def export(folder: Path, kept: float) -> None:
    """Write the checkpoint to `folder`, see `assemble`: matrices as float16, vectors as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model = assemble(kept)
    weights = {
        key: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = model.config.to_dict() | {"architectures": ["ClapModel"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    EXTRACTOR.to_json_file(folder / "preprocessor_config.json")
    for file in TOKENIZER_FILES:
        shutil.copyfile(paths.text_folder() / file, folder / file)
