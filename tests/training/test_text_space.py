"""The fixed space of texts: unit length, centred, less crowded than the sentence encoder's."""

from __future__ import annotations

import torch
from torch.nn import functional

from training.text_space import Meaning, TextSpace


def crowded(count: int) -> torch.Tensor:
    """Unit vectors that share a large common part, as phrases about sounds do."""
    generator = torch.manual_seed(1)
    spread = torch.linspace(1.0, 0.05, 24)
    vectors = torch.randn(count, 24, generator=generator) * spread + torch.randn(24, generator=generator)
    return functional.normalize(vectors, dim=1)


def mean_cosine(vectors: torch.Tensor) -> float:
    return float((vectors @ vectors.T).mean())


def test_texts_no_longer_look_alike() -> None:
    phrases = crowded(200)
    placed = TextSpace(phrases, dimensions=32)(phrases)
    torch.testing.assert_close(placed.norm(dim=1), torch.ones(200))
    assert mean_cosine(phrases) > 0.3
    assert abs(mean_cosine(placed)) < 0.02


def test_neighbours_stay_neighbours() -> None:
    phrases = crowded(200)
    near = functional.normalize(phrases + 0.02 * torch.randn(200, 24, generator=torch.manual_seed(2)), dim=1)
    space = TextSpace(phrases, dimensions=32)
    assert torch.equal((space(near) @ space(phrases).T).argmax(1), torch.arange(200))


def test_the_space_is_the_same_every_time() -> None:
    phrases = crowded(50)
    torch.testing.assert_close(TextSpace(phrases)(phrases), TextSpace(phrases)(phrases), atol=0, rtol=0)


def test_what_is_not_about_a_sound_falls_away() -> None:
    generator = torch.manual_seed(3)
    classes = functional.normalize(torch.randn(20, 64, generator=generator), dim=1)
    phrases = functional.normalize(
        classes.repeat_interleave(3, 0) + 0.05 * torch.randn(60, 64, generator=generator), dim=1
    )
    meaning = Meaning(phrases, [(first, first + 3) for first in range(0, 60, 3)])
    other = functional.normalize(torch.randn(20, 64, generator=generator), dim=1)
    texts = functional.normalize(0.6 * classes + other, dim=1)  # mostly about something else
    before, after = ((vectors * classes).sum(1) for vectors in (texts, meaning(texts)))
    assert before.mean() < 0.6 < 0.75 < after.mean()
    torch.testing.assert_close(meaning(texts).norm(dim=1), torch.ones(20))
    assert (meaning(phrases) * phrases).sum(1).min() > 0.9
