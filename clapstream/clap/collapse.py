"""Finds labels that a checkpoint cannot separate."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def collapsed_pairs(
    embeddings: Tensor, names: Sequence[str], threshold: float = 0.95
) -> list[tuple[str, str, float]]:
    """Pairs of names whose embeddings `(names, dim)` have a cosine above `threshold`, the most similar first.

    A working text tower keeps unrelated texts well apart (0.18 on average for laion/clap-htsat-unfused); one whose
    training collapsed maps every text to nearly the same place. The third value is the cosine, at most 1.

    Raises:
        ValueError: there are not as many names as embeddings.
    """
    if len(embeddings) != len(names):
        raise ValueError(f"{len(names)} names for {len(embeddings)} embeddings")
    unit = functional.normalize(embeddings.double(), dim=-1)
    cosines = (unit @ unit.T).clamp(max=1.0).triu(diagonal=1)
    pairs = [
        (names[first], names[second], float(cosines[first, second]))
        for first, second in (cosines > threshold).nonzero().tolist()
    ]
    return sorted(pairs, key=lambda pair: -pair[2])
