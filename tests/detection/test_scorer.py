"""Audio embeddings into scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstream.detection.scorer import PlattScaling, Scorer

DIM = 16


def unit(generator: np.random.Generator, rows: int) -> np.ndarray:
    values = generator.standard_normal((rows, DIM))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_score_is_the_softmax_probability_against_the_background() -> None:
    generator = np.random.default_rng(0)
    audio, label, background = unit(generator, 3), unit(generator, 1), unit(generator, 4)
    scores = Scorer([label], background, logit_scale=10.0).score(audio)
    logits = 10.0 * audio @ np.concatenate([label, background]).T
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-6)


def test_a_label_is_as_close_as_its_closest_prompt() -> None:
    generator = np.random.default_rng(1)
    audio, prompts, background = unit(generator, 2), unit(generator, 3), unit(generator, 2)
    together = Scorer([prompts], background, 8.0).score(audio)[:, 0]
    apart = Scorer([prompts[i : i + 1] for i in range(3)], background, 8.0).score(audio)
    np.testing.assert_allclose(together, apart.max(axis=1), rtol=1e-6)


@given(seed=st.integers(0, 2**32 - 1), others=st.integers(0, 6))
def test_other_labels_change_nothing(seed: int, others: int) -> None:
    generator = np.random.default_rng(seed)
    audio, label, background = unit(generator, 2), unit(generator, 2), unit(generator, 3)
    crowd = [unit(generator, int(generator.integers(1, 4))) for _ in range(others)]
    alone = Scorer([label], background, 20.0).score(audio)[:, 0]
    among = Scorer([*crowd, label], background, 20.0).score(audio)[:, -1]
    np.testing.assert_allclose(alone, among, atol=1e-6)


def test_calibration_moves_the_score_and_extremes_stay_finite() -> None:
    generator = np.random.default_rng(2)
    label = unit(generator, 1)
    background = -label
    strict = Scorer([label], background, 100.0, PlattScaling(slope=1.0, offset=-300.0))
    assert strict.score(label)[0, 0] < 1e-6
    assert Scorer([label], background, 1e4).score(label)[0, 0] == 1.0


def test_no_labels_give_no_scores() -> None:
    background = unit(np.random.default_rng(3), 2)
    assert Scorer([], background, 10.0).score(background).shape == (2, 0)


def test_shapes_that_do_not_fit_are_refused() -> None:
    generator = np.random.default_rng(4)
    with pytest.raises(ValueError, match="background"):
        Scorer([unit(generator, 1)], np.zeros((0, DIM), np.float32), 10.0)
    with pytest.raises(ValueError, match="embeddings"):
        Scorer([np.zeros((1, DIM + 1), np.float32)], unit(generator, 1), 10.0)
