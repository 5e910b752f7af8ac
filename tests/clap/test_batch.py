"""The mapping that extractor, tokenizer and processor return, and the extractor's `pad`, against transformers."""

import copy
import pickle

import numpy as np
import pytest
import torch
import transformers

from clapstream.clap import BatchFeature, ClapFeatureExtractor

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")


def batch():
    return BatchFeature(input_features=torch.zeros(1), is_longer=torch.tensor([True]), names=["a"])


@pytest.mark.parametrize(
    "call",
    [
        lambda b: b.to(torch.float16),
        lambda b: b.to("cpu", torch.float16),
        lambda b: b.to(torch.device("cpu"), dtype=torch.float16, non_blocking=True),
        lambda b: b.to(dtype=torch.float16),
        lambda b: b.to(torch.zeros(1, dtype=torch.float16)),
    ],
)
def test_precisions_are_for_floating_point(call):
    found = call(batch())
    assert (found.input_features.dtype, found.is_longer.dtype, found.names) == (torch.float16, torch.bool, ["a"])


def test_devices_are_for_all_tensors():
    found = batch().to("meta")
    assert (found.input_features.device.type, found.is_longer.device.type, found.names) == ("meta", "meta", ["a"])
    same = batch()
    assert same.to("cpu") is same
    with pytest.raises(TypeError, match=r"not 5\.5"):
        batch().to(5.5)


@pytest.mark.parametrize("form", ["np", "pt"])
def test_entries_become_tensors(form):
    data = {"ids": [[1, 2], [3, 4]], "rows": [np.zeros(2), np.ones(2)], "tensors": [torch.zeros(2), torch.ones(2)]}
    found = BatchFeature(data, tensor_type=form)
    expected = transformers.BatchFeature({k: data[k] for k in ("ids", "rows")}, tensor_type=form)
    for name, value in expected.items():
        assert (type(found[name]), found[name].dtype) == (type(value), value.dtype)
        np.testing.assert_array_equal(found[name], value)
    assert found["tensors"].shape == (2, 2)
    assert BatchFeature(data).convert_to_tensors(form)["ids"].shape == (2, 2)
    with pytest.raises(ValueError, match="tensor_type must be one of"):
        BatchFeature(data, tensor_type="tf")


def test_rows_of_different_lengths():
    ragged = {"ids": [[1, 2], [3]]}
    found, expected = (kind(ragged, tensor_type="np")["ids"] for kind in (BatchFeature, transformers.BatchFeature))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert [row.tolist() for row in found] == [[1, 2], [3]]
    with pytest.raises(ValueError, match="ids: rows of different lengths cannot form a tensor"):
        BatchFeature(ragged, tensor_type="pt")


def test_it_is_a_mapping():
    first = BatchFeature({"a": 1}, b=2)
    assert dict(**first) == {"a": 1, "b": 2} == first.data
    assert copy.deepcopy(first) == pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(AttributeError, match="missing"):
        _ = first.missing


ROWS = [np.random.default_rng(length).standard_normal((length, 64)) for length in (7, 3, 5)]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"padding": "longest", "return_tensors": "pt"},
        {"padding": "max_length", "max_length": 9},
        {"padding": False},
        {"padding": "max_length", "max_length": 4},
        {"padding": "max_length", "max_length": 4, "truncation": True},
        {"padding": "max_length", "max_length": 4, "truncation": True, "return_attention_mask": True},
        {"padding": True, "max_length": 5, "truncation": True, "return_tensors": "np"},
        {"pad_to_multiple_of": 4, "return_attention_mask": True},
        {"padding": "max_length", "max_length": 9, "pad_to_multiple_of": 4, "return_tensors": "pt"},
    ],
)
@pytest.mark.parametrize("form", ["columns", "rows", "tensors", "lists"])
@pytest.mark.parametrize("settings", [{}, {"padding_side": "left", "padding_value": 2.5}])
def test_pad_is_that_of_transformers(form, arguments, settings):
    def features():
        return {
            "columns": {"input_features": list(ROWS)},
            "rows": [{"input_features": row} for row in ROWS],
            "tensors": {"input_features": [torch.from_numpy(row) for row in ROWS]},
            "lists": {"input_features": [row.tolist() for row in ROWS]},
        }[form]

    try:
        expected = transformers.ClapFeatureExtractor(**settings).pad(features(), **arguments)
    except ValueError:  # rows of different lengths as a tensor
        with pytest.raises(ValueError, match="input_features: rows of different lengths"):
            ClapFeatureExtractor(**settings).pad(features(), **arguments)
        return
    found = ClapFeatureExtractor(**settings).pad(features(), **arguments)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (type(found[name]), found[name].dtype) == (type(value), value.dtype)
        assert found[name].shape == value.shape
        for ours, theirs in zip(found[name], value, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("features", "arguments", "error", "message"),
    [
        ({"labels": [1]}, {}, ValueError, "processed_features has no input_features, only labels"),
        ([{"input_features": ROWS[0]}, 5], {}, TypeError, "processed_features must be a mapping or a list"),
        ({"input_features": ROWS, "labels": [1]}, {}, ValueError, "different numbers of rows"),
        ({"input_features": ROWS}, {"padding": "repeatpad"}, ValueError, "padding must be one of"),
        ({"input_features": ROWS}, {"padding": "max_length"}, ValueError, "padding to max_length needs"),
        ({"input_features": ROWS}, {"truncation": True}, ValueError, "truncation to max_length needs"),
        ({"input_features": ROWS}, {"padding": "max_length", "max_length": 0}, ValueError, "max_length must be"),
        ({"input_features": ROWS}, {"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of must be"),
        ({"input_features": ROWS}, {"return_tensors": "tf"}, ValueError, "return_tensors must be one of"),
    ],
)
def test_pad_refuses_by_name(features, arguments, error, message):
    with pytest.raises(error, match=message):
        ClapFeatureExtractor().pad(features, **arguments)


def test_no_rows_stay_none():
    assert ClapFeatureExtractor().pad({"input_features": []}, return_attention_mask=True) == {
        "input_features": [],
        "attention_mask": [],
    }
