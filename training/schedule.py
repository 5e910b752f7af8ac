"""How step sizes rise and fall in training."""

from __future__ import annotations

import math


def pace(done: float, step: int = 0, *, warm_up: int = 1, last: float = 0.01) -> float:
    """Factor of a step size: up to 1 in `warm_up` steps, then along half a cosine down to `last`.

    `done` 0..1 says how much of the training is over.
    """
    return min(1.0, (step + 1) / warm_up) * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)
