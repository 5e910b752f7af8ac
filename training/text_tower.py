"""The text tower: three layers of the sentence encoder with a smaller vocabulary, distilled to the same embeddings.

The sentence encoder averages its last layer over the tokens. The student puts that average into its pooled first
token, because CLAP's projection reads that one.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap import ClapTextModel
from training import paths
from training.corpus import SEED, corpus_targets
from training.geometry import LONGEST_TEXT, text_config
from training.schedule import pace
from training.sentence_encoder import DIMENSIONS, pad, teacher_folder
from training.text_tokenizer import SPECIALS, make_tokenizer

KEPT_LAYERS = (0, 2, 4)
"""The sentence encoder's layers that the student starts from."""
POOLED_NORM = 4.0
"""Length of the student's pooled output: the teacher's unit vector times this, well inside the range of tanh."""
BATCH = 128
RATE = 6e-4
HELD_OUT_TEXTS = 512


def initial_student(pieces: list[str]) -> ClapTextModel:
    """The student before distillation: the teacher's embeddings and some of its layers."""
    weights = load_file(teacher_folder() / "model.safetensors")
    vocabulary = Tokenizer.from_file(str(teacher_folder() / "tokenizer.json")).get_vocab()
    rows = [vocabulary[SPECIALS.get(piece, piece)] for piece in pieces]
    embeddings = "embeddings."
    state = {
        embeddings + "word_embeddings.weight": weights[embeddings + "word_embeddings.weight"][rows],
        embeddings + "position_embeddings.weight": torch.cat(
            [torch.zeros(2, DIMENSIONS), weights[embeddings + "position_embeddings.weight"][:LONGEST_TEXT]]
        ),
        embeddings + "token_type_embeddings.weight": weights[embeddings + "token_type_embeddings.weight"][:1],
    }
    state |= {name: value for name, value in weights.items() if name.startswith("embeddings.LayerNorm")}
    for target, origin in enumerate(KEPT_LAYERS):
        prefix = f"encoder.layer.{origin}."
        for name, value in weights.items():
            if name.startswith(prefix):
                state[f"encoder.layer.{target}.{name.removeprefix(prefix)}"] = value
    student = ClapTextModel(text_config(len(pieces)))
    result = student.load_state_dict(state, strict=False)
    assert student.pooler is not None
    nn.init.eye_(student.pooler.dense.weight)
    nn.init.zeros_(student.pooler.dense.bias)
    left = {name for name in result.missing_keys if not name.startswith("pooler") and "_ids" not in name}
    if left or result.unexpected_keys:
        raise ValueError(f"weights do not fit: missing {left}, left over {result.unexpected_keys}")
    return student


def distil(minutes: float, texts: int, *, held_out: int = HELD_OUT_TEXTS, batch: int = BATCH) -> None:
    """Train the student on so many texts for `minutes` and store it in the cache, with its tokenizer.

    `held_out` texts are not trained on but measured.
    """
    folder = paths.text_folder()
    if (folder / "text.safetensors").exists():
        return
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    pieces = make_tokenizer(folder)
    phrases, targets = corpus_targets(texts)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = [encoding.ids[:LONGEST_TEXT] for encoding in tokenizer.encode_batch(phrases)]
    student = initial_student(pieces).train()
    train(student, encoded, targets, random, minutes, held_out, batch)


def store(student: ClapTextModel) -> None:
    """Write the student's weights into the cache; replaces an older file atomically."""
    path = paths.text_folder() / "text.safetensors"
    save_file(student.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)


def train(
    student: ClapTextModel,
    encoded: list[list[int]],
    targets: Tensor,
    random: np.random.Generator,
    minutes: float,
    held_out_count: int,
    batch: int,
) -> None:
    """Train the pooled output towards the teacher's vector, and cosines within a batch towards the teacher's."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = np.array([len(ids) for ids in encoded])
    shuffled = random.permutation(len(encoded))
    held_out, shuffled = shuffled[:held_out_count], shuffled[held_out_count:]
    began, step, total = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(done, step, warm_up=100)
        pool = random.choice(shuffled, batch * 8, replace=False)
        pool = pool[np.argsort(lengths[pool])]  # texts of like length together: little padding
        for part in random.permutation(pool.reshape(8, batch)):
            ids, mask = pad([encoded[i] for i in part], padding=1)
            with torch.autocast("cpu", torch.bfloat16):
                pooled = student(ids, attention_mask=mask.long()).pooler_output
            loss = likeness_loss(pooled.float(), targets[part].float())
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimiser.step()
            step += 1
            total += float(loss.detach()) / 160
        if step % 160 == 0:
            found = agreement(student, encoded, targets, held_out)
            print(f"text step {step} {100 * done:.0f}% loss {total:.4f} held-out cosine {found:.4f}", flush=True)
            total = 0.0
    store(student)
    found = agreement(student, encoded, targets, held_out)
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
    lengths = (length / POOLED_NORM - 1).square().mean()
    loss: Tensor = 1 - (own * target).sum(-1).mean() + 10 * pairs + 0.05 * lengths
    return loss
