"""The tokenizer of the text tower: the sentence encoder's, with fewer WordPieces and RoBERTa's special tokens."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer

from training.corpus import sound_phrases
from training.geometry import LONGEST_TEXT
from training.sentence_encoder import teacher_folder
from training.wordnet import WordNet

VOCABULARY = 9000
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]"}
"""The special tokens in RoBERTa's order, and the sentence encoder's tokens whose embeddings they start from."""


def choose_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """WordPieces to keep: all of our phrases, every character, then the commonest in WordNet."""
    counts: Counter[str] = Counter()
    for entry in WordNet().entries.values():
        text = f"{', '.join(entry.words)} {entry.gloss}"
        counts.update(tokenizer.encode(text, add_special_tokens=False).tokens)
    needed = {
        piece for phrase in sound_phrases() for piece in tokenizer.encode(phrase, add_special_tokens=False).tokens
    }
    characters = {
        piece for piece in tokenizer.get_vocab() if len(piece.removeprefix("##")) == 1 and piece.isascii()
    }
    kept = sorted((needed | characters) - {"[UNK]"})
    ranked = [piece for piece, _ in counts.most_common() if piece not in set(kept) and not piece.startswith("[")]
    return [*SPECIALS, *kept, *ranked][:VOCABULARY]


def make_tokenizer(folder: Path) -> list[str]:
    """Write `tokenizer.json` and `tokenizer_config.json`; return the pieces in order of their ids."""
    teacher = json.loads((teacher_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    full = Tokenizer.from_file(str(teacher_folder() / "tokenizer.json"))
    full.no_padding()
    pieces = choose_vocabulary(full)
    ids = {piece: number for number, piece in enumerate(pieces)}
    teacher["model"] |= {"vocab": ids, "unk_token": "<unk>"}
    teacher |= {"padding": None, "truncation": None}
    teacher["added_tokens"] = [
        {"id": ids[name], "content": name, "special": True}
        | {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for name in SPECIALS
    ]
    part = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}
    first, last = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    teacher["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [first, part[0], last],
        "pair": [first, part[0], last, part[1], last],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("<s>", "</s>")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(teacher, ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": LONGEST_TEXT,
        "clean_up_tokenization_spaces": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return pieces
