"""A tokenizer's files: tokenizer.json with any model, or vocab.json and merges.txt of RoBERTa's byte-level BPE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from clapstream.clap.checkpoint_files import (
    MERGES_NAME,
    SETTINGS_NAME,
    SPECIAL_TOKENS_NAME,
    TOKENIZER_NAME,
    VOCABULARY_NAME,
    read_json,
    write_json,
    write_whole,
)
from clapstream.clap.hub import CheckpointError, CheckpointSource

ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
"""What RoBERTa calls the special tokens, in the order in which they are added to a vocabulary that lacks them."""

BERT_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}

ROLES = tuple(ROBERTA_TOKENS)


def read_vocabulary(source: CheckpointSource, overrides: Mapping[str, Any]) -> tuple[Tokenizer, dict[str, Any]]:
    """A checkpoint's tokenizer and settings; special tokens that no file names get their usual names.

    `overrides` win over the settings.

    Raises:
        CheckpointError: there is none, or a file of it is damaged.
    """
    settings = {
        **read_optional(source, SPECIAL_TOKENS_NAME),
        **read_optional(source, SETTINGS_NAME),
        **{name: value for name, value in overrides.items() if name not in ROLES},
    }
    path = source.require(TOKENIZER_NAME, VOCABULARY_NAME)
    if path.name == VOCABULARY_NAME:
        settings = {**ROBERTA_TOKENS, **settings}
        return build_roberta(path, source.require(MERGES_NAME), settings), settings
    tokenizer = read_tokenizer(path)
    if "add_prefix_space" in overrides and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        tokenizer.pre_tokenizer.add_prefix_space = bool(overrides["add_prefix_space"])
    usual = BERT_TOKENS if tokenizer.token_to_id("[PAD]") is not None else ROBERTA_TOKENS
    known = {role: token for role, token in usual.items() if tokenizer.token_to_id(token) is not None}
    return tokenizer, {**known, **settings}


def write_vocabulary(directory: Path, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Write a tokenizer and its settings into a directory, which is made if it is missing; return both paths."""
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / TOKENIZER_NAME, tokenizer.to_str(pretty=True).encode())
    is_roberta = isinstance(tokenizer.model, models.BPE)
    tokenizer_class = "RobertaTokenizerFast" if is_roberta else "PreTrainedTokenizerFast"
    write_json(directory / SETTINGS_NAME, {"tokenizer_class": tokenizer_class, **settings})
    return str(directory / SETTINGS_NAME), str(directory / TOKENIZER_NAME)


def content(token: str | dict[str, Any]) -> str:
    """A special token's text, which files give plainly or with how it is matched."""
    return str(token["content"]) if isinstance(token, dict) else token


def read_optional(source: CheckpointSource, name: str) -> dict[str, Any]:
    """The entries of a file that a checkpoint may lack."""
    path = source.find(name)
    return {} if path is None else read_json(path)


def read_tokenizer(path: Path) -> Tokenizer:
    """The content of `tokenizer.json`, of any model type; CheckpointError if it is damaged."""
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing more specific
        raise CheckpointError(f"{path}: is not a tokenizer: {error}") from error


def build_roberta(vocabulary: Path, merges: Path, settings: dict[str, Any]) -> Tokenizer:
    """RoBERTa's byte-level BPE from its two files; CheckpointError if they are damaged or do not match."""
    vocab = read_json(vocabulary)
    try:
        model = models.BPE(vocab, read_merges(merges))
    except Exception as error:  # the library raises nothing more specific
        raise CheckpointError(f"{merges}: does not fit {vocabulary.name}: {error}") from error
    add_prefix_space = bool(settings.get("add_prefix_space", False))
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokens = {role: content(settings[role]) for role in ROBERTA_TOKENS}
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in dict.fromkeys(tokens.values())])
    separator, start = (tokens[role] for role in ("sep_token", "cls_token"))
    ids = tokenizer.get_vocab(with_added_tokens=True)
    tokenizer.post_processor = processors.RobertaProcessing(
        (separator, ids[separator]), (start, ids[start]), add_prefix_space=add_prefix_space
    )
    return tokenizer


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The pairs of `merges.txt`, most frequent first, below its line with the version."""
    lines = path.read_text(encoding="utf-8").split("\n")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if not all(len(pair) == 2 for pair in pairs):
        raise CheckpointError(f"{path}: must have two tokens in each line")
    return pairs  # type: ignore[return-value]  # pairs, as was just checked
