"""A checkpoint directory of a tiny CLAP with random weights and a small tokenizer."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from clapstream.clap.config import ClapConfig
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.model import ClapModel
from clapstream.clap.tokenizer import ClapTokenizer
from support.random_weights import randomise
from support.small_clap import AUDIO

TEXTS = ("This is a sound of a dog barking.", "a doorbell rings", "a quiet room", "traffic in the distance")
TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
}


def write_small_checkpoint(directory: Path, truncation: str = "rand_trunc") -> None:
    """Write every file that `from_pretrained` reads."""
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(directory)
    ClapFeatureExtractor(feature_size=16, hop_length=2400, truncation=truncation).save_pretrained(directory)
    config = ClapConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer)},
        audio_config={**AUDIO, "enable_fusion": truncation == "fusion"},
        projection_dim=24,
    )
    model = ClapModel(config)
    randomise(model, seed=8)
    model.save_pretrained(directory)


def train_tokenizer() -> ClapTokenizer:
    """A byte-level BPE tokenizer of a few words with RoBERTa's special tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return ClapTokenizer(backend, {**special, "model_max_length": 30})
