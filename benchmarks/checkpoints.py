"""The checkpoints that are compared: the full size with random weights, the bundled one, or any directory."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from benchmarks.environment import cache_directory
from clapstream.clap import ClapConfig, ClapFeatureExtractor, ClapModel, ClapTokenizer
from clapstream.clap.hub import BUNDLED, BUNDLED_DIRECTORY

FULL_SIZE = "full-size"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BYTE_TOKENS = len(SPECIAL_TOKENS) + 256


def find_checkpoint(name: str) -> Path:
    """A directory that every peer can load; the full-size one is written at its first use."""
    if name == BUNDLED:
        return BUNDLED_DIRECTORY
    if name != FULL_SIZE:
        return Path(name).resolve()
    directory = cache_directory() / FULL_SIZE
    if not (directory / "model.safetensors").is_file():
        # As laion/clap-htsat-unfused.
        extractor = ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)
        write_random_checkpoint(directory, ClapConfig(), extractor)
    return directory


def write_random_checkpoint(directory: Path, config: ClapConfig, extractor: ClapFeatureExtractor) -> None:
    """Write random weights of that geometry, and a tokenizer of `BYTE_TOKENS` tokens."""
    torch.manual_seed(0)
    directory.mkdir(parents=True, exist_ok=True)
    model = ClapModel(config)
    randomise(model)
    extractor.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    model.save_pretrained(directory)  # last: its presence says that the rest is there


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Draw weights that keep activations of the order of one through all layers; no bias is zero."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        elif parameter.ndim == 1:
            parameter.add_(torch.empty_like(parameter).uniform_(-0.2, 0.2))
        if name.endswith("relative_position_bias_table"):
            parameter.normal_()
    for name, statistic in model.named_buffers():
        if name.endswith("running_mean"):
            statistic.uniform_(-50.0, -20.0)
        if name.endswith("running_var"):
            statistic.uniform_(200.0, 400.0)


def byte_tokenizer() -> ClapTokenizer:
    """Byte-level BPE without merges: it turns any text into ids, which is enough to measure speed."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([], trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    roles = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return ClapTokenizer(backend, {**roles, "model_max_length": 512})
