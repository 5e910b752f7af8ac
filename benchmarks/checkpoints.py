"""The checkpoints that are compared: the full size with random weights, the bundled one, or any directory."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from benchmarks.environment import cache_directory
from clapstream.clap import ClapConfig, ClapFeatureExtractor, ClapModel, ClapTokenizer
from clapstream.clap.hub import BUNDLED, BUNDLED_DIRECTORY

FULL_SIZE = "full-size"


def find_checkpoint(name: str) -> Path:
    """A directory that every peer can load; the full-size one is written at its first use."""
    if name == BUNDLED:
        return BUNDLED_DIRECTORY
    if name != FULL_SIZE:
        return Path(name).resolve()
    directory = cache_directory() / FULL_SIZE
    if not (directory / "model.safetensors").is_file():
        write_full_size(directory)
    return directory


def write_full_size(directory: Path) -> None:
    """The geometry and settings of laion/clap-htsat-unfused, with random weights."""
    torch.manual_seed(0)
    directory.mkdir(parents=True, exist_ok=True)
    model = ClapModel(ClapConfig())
    randomise(model)
    ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50).save_pretrained(directory)
    random_tokenizer().save_pretrained(directory)
    model.save_pretrained(directory)  # last: it tells that the rest is there


@torch.no_grad()
def randomise(model: torch.nn.Module) -> None:
    """Keep activations of the order of one through all layers, and let every bias and statistic matter."""
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


def random_tokenizer() -> ClapTokenizer:
    """Byte-level BPE without merges: any text becomes ids, which is all that a speed test asks."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([], trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    roles = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return ClapTokenizer(backend, {**roles, "model_max_length": 512})
