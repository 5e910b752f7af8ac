"""Labels that a checkpoint cannot tell apart."""

import math

import pytest
import torch

from clapstream.clap import collapsed_pairs


def directions(*degrees):
    return torch.tensor([[math.cos(math.radians(angle)), math.sin(math.radians(angle))] for angle in degrees])


def test_pairs_above_the_threshold_are_named_the_most_alike_first():
    embeddings = directions(0, 15, 90, 95) * torch.tensor([[1.0], [7.0], [0.1], [1.0]])  # length does not matter
    pairs = collapsed_pairs(embeddings, ["dog", "cat", "rain", "bell"])
    assert [pair[:2] for pair in pairs] == [("rain", "bell"), ("dog", "cat")]
    assert pairs[1][2] == pytest.approx(math.cos(math.radians(15)))


def test_the_threshold_itself_is_no_collapse():
    assert collapsed_pairs(directions(0, 60), ["a", "b"], threshold=0.51) == []
    assert len(collapsed_pairs(directions(0, 60), ["a", "b"], threshold=0.49)) == 1


def test_opposites_and_single_labels_are_apart():
    assert collapsed_pairs(directions(0, 180), ["a", "b"]) == []
    assert collapsed_pairs(directions(0), ["a"]) == []
    assert collapsed_pairs(torch.empty(0, 8), []) == []


def test_half_precision_duplicates_are_found():
    pairs = collapsed_pairs(torch.full((3, 8), 0.1).half(), ["a", "b", "c"])
    assert len(pairs) == 3
    assert all(0.999 < cosine <= 1.0 for _, _, cosine in pairs)


def test_every_embedding_needs_a_name():
    with pytest.raises(ValueError, match="1 names for 2 embeddings"):
        collapsed_pairs(directions(0, 1), ["a"])
