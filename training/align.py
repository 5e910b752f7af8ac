"""The last step for text: the distilled tower must land where the sentence encoder landed during audio training.

The audio tower learned with the sentence encoder's own vectors in place of the text body's. What the body and the
projection still miss is measured here where it matters, in the space that sounds and texts share.
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
from training.audio_tower import Phrases, model_config
from training.paths import CACHE
from training.text_tower import LONGEST, POOLED_NORM, pad, text_config

BATCH = 128
RATE = 3e-4
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


def align(minutes: float, name: str = "audio") -> None:
    """Tune body and projection for `minutes` towards the embeddings that the audio tower was trained against."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    state = torch.load(CACHE / f"{name}.pt")["average"]
    aim = ClapProjectionLayer(model_config().text_config)
    projection = {
        key.removeprefix("text_projection."): value
        for key, value in state.items()
        if key.startswith("text_projection.")
    }
    aim.load_state_dict(projection)
    side = TextSide()
    side.text_projection.load_state_dict(projection)
    side.text_model.load_state_dict(load_file(CACHE / "text" / "text.safetensors"))
    encoded, targets, phrases = _corpus(aim)
    kept_out = random.choice(len(encoded) - phrases, 512, replace=False) + phrases
    usable = np.setdiff1d(np.arange(len(encoded)), kept_out)
    print(f"before: held-out cosine {_agreement(side, encoded, targets, kept_out):.4f}", flush=True)
    optimiser = torch.optim.AdamW(side.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = np.array([len(ids) for ids in encoded])
    began, step = time.monotonic(), 0
    while (done := (time.monotonic() - began) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2)
        some = np.concatenate([random.integers(phrases, size=BATCH * 4), random.choice(usable, BATCH * 4)])
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
            print(f"align step {step} {100 * done:.0f}% loss {float(loss.detach()):.4f}", flush=True)
    print(f"after {step} steps: held-out cosine {_agreement(side, encoded, targets, kept_out):.4f}", flush=True)
    save_file(side.state_dict(), CACHE / "text" / "aligned.safetensors")


def _corpus(aim: ClapProjectionLayer) -> tuple[list[list[int]], Tensor, int]:
    """Token ids, unit target embeddings `(texts, 512)`, and how many of the first are phrases of sounds."""
    known = Phrases()
    texts, vectors = torch.load(CACHE / "text_targets.pt")
    everything = [*known.texts, *texts]
    pooled = torch.cat([known.pooled, vectors.float() * POOLED_NORM])
    tokenizer = Tokenizer.from_file(str(CACHE / "text" / "tokenizer.json"))
    encoded = [encoding.ids[:LONGEST] for encoding in tokenizer.encode_batch(everything)]
    with torch.inference_mode():
        targets = torch.cat([functional.normalize(aim(part), dim=-1) for part in pooled.split(4096)])
    return encoded, targets.clone(), len(known.texts)


def _agreement(side: TextSide, encoded: list[list[int]], targets: Tensor, rows: NDArray[np.int64]) -> float:
    """Mean cosine of the text side with what it aims at, over the texts `rows`."""
    with torch.inference_mode():
        return float((side([encoded[i] for i in rows]) * targets[rows]).sum(-1).mean())
