"""The last step for text: body and projection learn the embedding that any phrase has in the shared space.

`text_space` computes that embedding: the same that the audio tower is trained towards, but without what is not
about sound in a text.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from clapstream.clap import ClapTextModel
from clapstream.clap.projection import ClapProjectionLayer
from training import paths
from training.corpus import corpus_targets
from training.geometry import LONGEST_TEXT, text_config
from training.schedule import pace
from training.sentence_encoder import pad
from training.student import centre
from training.vocabulary import Vocabulary

Random = np.random.Generator
BATCH = 128
BATCHES_A_ROUND = 8
"""Batches that are drawn together, so that texts of about the same length share one."""
RATE = 5e-4
SEED = 9
HELD_OUT_TEXTS = 512


class TextSide(nn.Module):
    """Text body and projection, as they are in the checkpoint."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        config = text_config(vocabulary)
        self.text_model = ClapTextModel(config)
        self.text_projection = ClapProjectionLayer(config)

    def forward(self, encoded: list[list[int]]) -> Tensor:
        """Unit embeddings `(texts, 512)`."""
        ids, mask = pad(encoded, padding=1)
        pooled = self.text_model(ids, attention_mask=mask.long()).pooler_output
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is trained on at once, measured on, and used for the first fit of the projection."""

    batch: int = BATCH
    held_out: int = HELD_OUT_TEXTS
    projection_texts: int = 12_000
    projection_steps: int = 800


class Corpus:
    """The phrases of sounds and the texts behind them: token ids and unit target embeddings `(texts, 512)`."""

    def __init__(self, tokenizer: Tokenizer, sizes: Sizes, random: Random) -> None:
        vocabulary = Vocabulary()
        texts, vectors = corpus_targets()
        all_texts = [*vocabulary.texts, *texts]
        self.encoded = [encoding.ids[:LONGEST_TEXT] for encoding in tokenizer.encode_batch(all_texts)]
        self.targets = torch.cat([vocabulary.meant, vocabulary.meaning(vocabulary.space(vectors.float()))])
        self.lengths = np.array([len(ids) for ids in self.encoded])
        self.phrases = len(vocabulary.texts)
        """How many of the first are phrases of sounds."""
        self._sizes, self._random = sizes, random

    def hold_out(self) -> NDArray[np.int64]:
        """Rows of texts to measure on, drawn at random behind the phrases."""
        texts = len(self.encoded) - self.phrases
        return self._random.choice(texts, self._sizes.held_out, replace=False) + self.phrases

    def draw(self, usable: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows `(8, batch)`, a quarter phrases of sounds; those of a batch have about the same length."""
        count = self._sizes.batch * BATCHES_A_ROUND
        phrases = self._random.integers(self.phrases, size=count // 4)
        others = self._random.choice(usable, count * 3 // 4)
        rows = np.concatenate([phrases, others])
        rows = rows[np.argsort(self.lengths[rows])]
        return self._random.permutation(rows.reshape(BATCHES_A_ROUND, self._sizes.batch))


def align(minutes: float, sizes: Sizes | None = None) -> None:
    """Train body and projection for `minutes`, a quarter on phrases of sounds and the rest on any text."""
    sizes = sizes or Sizes()
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    tokenizer = Tokenizer.from_file(str(paths.text_folder() / "tokenizer.json"))
    corpus = Corpus(tokenizer, sizes, random)
    side = TextSide(tokenizer.get_vocab_size())
    if paths.aligned_text().exists():
        side.load_state_dict(load_file(paths.aligned_text()))
    else:
        side.text_model.load_state_dict(load_file(paths.text_folder() / "text.safetensors"))
        fit_projection(side, corpus, sizes, random)
        store(side)
    train(side, corpus, minutes)


def train(side: TextSide, corpus: Corpus, minutes: float) -> None:
    """Train for `minutes` and store the weights now and then and at the end."""
    held_out = corpus.hold_out()
    usable = np.setdiff1d(np.arange(len(corpus.encoded)), held_out)
    known = np.arange(0, corpus.phrases, max(1, corpus.phrases // 256))
    optimiser = torch.optim.AdamW(side.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(done, step, warm_up=100)
        for rows in corpus.draw(usable):
            with torch.autocast("cpu", torch.bfloat16):
                own = side([corpus.encoded[row] for row in rows])
            aimed = corpus.targets[rows]
            loss = 1 - (own * aimed).sum(-1).mean() + 3 * functional.mse_loss(own @ own.T, aimed @ aimed.T)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(side.parameters(), 1.0)
            optimiser.step()
            step += 1
        if step % 80 == 0:
            phrases, texts = agreement(side, corpus, known), agreement(side, corpus, held_out)
            print(
                f"align step {step} {100 * done:.0f}% phrases {phrases:.4f} held-out texts {texts:.4f}", flush=True
            )
            store(side)
    print(f"aligned: {step} steps, held-out texts {agreement(side, corpus, held_out):.4f}", flush=True)
    store(side)


def fit_projection(side: TextSide, corpus: Corpus, sizes: Sizes, random: Random) -> None:
    """Train the projection alone on the body's outputs: it takes seconds and does most of the alignment."""
    others = random.choice(len(corpus.encoded) - corpus.phrases, sizes.projection_texts)
    rows = np.concatenate([np.arange(corpus.phrases), corpus.phrases + others])
    rows = rows[np.argsort(corpus.lengths[rows])]
    pooled = _pooled(side, corpus, rows)
    centre(side.text_projection, pooled)
    optimiser = torch.optim.Adam(side.text_projection.parameters())
    steps = sizes.projection_steps
    for step in range(steps):
        some = torch.from_numpy(random.integers(len(rows), size=512))
        own = functional.normalize(side.text_projection(pooled[some]), dim=-1)
        loss = 1 - (own * corpus.targets[rows[some]]).sum(-1).mean()
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    print(f"projection alone: cosine {1 - float(loss.detach()):.4f}", flush=True)


def store(side: TextSide) -> None:
    """Write the text side's weights into the cache; replaces an older file atomically."""
    part = paths.aligned_text().with_suffix(".part")
    save_file(side.state_dict(), part)
    part.rename(paths.aligned_text())


def agreement(side: TextSide, corpus: Corpus, rows: NDArray[np.int64]) -> float:
    """Mean cosine of the text side's embeddings with their targets, over the texts `rows`."""
    with torch.inference_mode():
        own = side([corpus.encoded[row] for row in rows])
        return float((own * corpus.targets[rows]).sum(-1).mean())


@torch.no_grad()
def _pooled(side: TextSide, corpus: Corpus, rows: NDArray[np.int64]) -> Tensor:
    """The body's outputs `(rows, 384)`."""
    parts = []
    with torch.autocast("cpu", torch.bfloat16):
        for part in np.array_split(rows, max(1, len(rows) // 256)):
            ids, mask = pad([corpus.encoded[row] for row in part], padding=1)
            parts.append(side.text_model(ids, attention_mask=mask.long()).pooler_output.float())
    return torch.cat(parts)
