"""The last step for text: body and projection learn to put any phrase where the shared space has it.

Where that is, `text_space` says: where the audio tower aims, too, but for what is not about sound in a text.
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

from clapstream.clap.projection import ClapProjectionLayer
from clapstream.clap.text import ClapTextModel
from training.paths import ALIGNED_TEXT, CACHE
from training.schedule import pace
from training.student import centre, model_config
from training.text_tower import LONGEST, corpus_targets, pad, text_config
from training.vocabulary import Phrases

NumpyRandom = np.random.Generator
BATCH = 128
RATE = 5e-4
SEED = 9


class TextSide(nn.Module):
    """Text body and projection, as they are in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.text_model = ClapTextModel(text_config())
        self.text_projection = ClapProjectionLayer(model_config().text_config)

    def forward(self, encoded: list[list[int]]) -> Tensor:
        """Unit embeddings `(texts, 512)`."""
        ids, mask = pad(encoded, padding=1)
        pooled = self.text_model(ids, attention_mask=mask.long()).pooler_output
        return functional.normalize(self.text_projection(pooled).float(), dim=-1)


def align(minutes: float) -> None:
    """Train body and projection for `minutes`, a quarter on phrases of sounds and the rest on any text."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    encoded, targets, phrases = _corpus()
    side = TextSide()
    if ALIGNED_TEXT.exists():
        side.load_state_dict(load_file(ALIGNED_TEXT))
    else:
        side.text_model.load_state_dict(load_file(CACHE / "text" / "text.safetensors"))
        fit_projection(side, encoded, targets, phrases, random)
        store(side)
    kept_out = random.choice(len(encoded) - phrases, 512, replace=False) + phrases
    usable = np.setdiff1d(np.arange(len(encoded)), kept_out)
    optimiser = torch.optim.AdamW(side.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = np.array([len(ids) for ids in encoded])
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * pace(done, step, warm_up=100)
        some = np.concatenate([random.integers(phrases, size=BATCH * 2), random.choice(usable, BATCH * 6)])
        some = some[np.argsort(lengths[some])]
        for part in random.permutation(some.reshape(8, BATCH)):
            with torch.autocast("cpu", torch.bfloat16):
                own = side([encoded[i] for i in part])
            aimed = targets[part]
            loss = 1 - (own * aimed).sum(-1).mean() + 3 * functional.mse_loss(own @ own.T, aimed @ aimed.T)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(side.parameters(), 1.0)
            optimiser.step()
            step += 1
        if step % 80 == 0:
            known = _agreement(side, encoded, targets, np.arange(0, phrases, max(1, phrases // 256)))
            other = _agreement(side, encoded, targets, kept_out)
            print(f"align step {step} {100 * done:.0f}% phrases {known:.4f} held-out texts {other:.4f}", flush=True)
            store(side)
    print(f"aligned: {step} steps, held-out texts {_agreement(side, encoded, targets, kept_out):.4f}", flush=True)
    store(side)


def fit_projection(
    side: TextSide, encoded: list[list[int]], targets: Tensor, phrases: int, random: NumpyRandom
) -> None:
    """Train the projection alone on the body's outputs: seconds, and most of the way."""
    rows = np.concatenate([np.arange(phrases), phrases + random.choice(len(encoded) - phrases, 12_000)])
    rows = rows[np.argsort([len(encoded[row]) for row in rows])]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = []
        for part in np.array_split(rows, len(rows) // 256):
            ids, mask = pad([encoded[row] for row in part], padding=1)
            parts.append(side.text_model(ids, attention_mask=mask.long()).pooler_output.float())
        pooled = torch.cat(parts)
        centre(side.text_projection, pooled)
    optimiser = torch.optim.Adam(side.text_projection.parameters())
    steps = 800
    for step in range(steps):
        some = torch.from_numpy(random.integers(len(rows), size=512))
        own = functional.normalize(side.text_projection(pooled[some]), dim=-1)
        loss = 1 - (own * targets[rows[some]]).sum(-1).mean()
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"projection alone: cosine {1 - float(loss.detach()):.4f}", flush=True)


def store(side: TextSide) -> None:
    """Put the text side's weights into the cache in one move."""
    part = ALIGNED_TEXT.with_suffix(".part")
    save_file(side.state_dict(), part)
    part.rename(ALIGNED_TEXT)


def _corpus() -> tuple[list[list[int]], Tensor, int]:
    """Token ids, unit target embeddings `(texts, 512)`, and how many of the first are phrases of sounds."""
    known = Phrases()
    texts, vectors = corpus_targets()
    tokenizer = Tokenizer.from_file(str(CACHE / "text" / "tokenizer.json"))
    encoded = [encoding.ids[:LONGEST] for encoding in tokenizer.encode_batch([*known.texts, *texts])]
    targets = torch.cat([known.meant, known.meaning(known.space(vectors.float()))])
    return encoded, targets, len(known.texts)


def _agreement(side: TextSide, encoded: list[list[int]], targets: Tensor, rows: NDArray[np.int64]) -> float:
    """Mean cosine of the text side with what it aims at, over the texts `rows`."""
    with torch.inference_mode():
        return float((side([encoded[i] for i in rows]) * targets[rows]).sum(-1).mean())
