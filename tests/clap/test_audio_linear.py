"""Packed products give what plain ones give, and give their weights back."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from clapstream.clap.linear import Product, packable_types
from clapstream.clap.packed import PackedLinear


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(48, 40)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(48,), (5, 48), (2, 300, 48)])
def test_packed_equals_plain(linear, shape, gelu):
    inputs = torch.randn(shape) * 3
    expected = functional.linear(inputs, linear.weight, linear.bias)
    expected = functional.gelu(expected) if gelu else expected
    with torch.inference_mode():
        found = PackedLinear(linear, gelu=gelu)(inputs)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


def test_weights_are_packed_where_this_pytorch_can(linear):
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        weight = linear.weight.to(dtype)
        product = Product.prepare(weight, None)
        assert (product.weight.layout != torch.strided) == (dtype in packable_types())
        assert torch.equal(product.unpacked(), weight)
        assert torch.equal(pickle.loads(pickle.dumps(product)).unpacked(), weight)
        assert torch.equal(copy.deepcopy(product).unpacked(), weight)
    assert torch.float64 not in packable_types()


def test_a_product_does_not_share_its_weights(linear):
    for dtype in (torch.float32, torch.float64):
        layer = copy.deepcopy(linear).to(dtype)
        inputs = torch.randn(3, 48, dtype=dtype)
        product = Product.prepare(layer.weight, layer.bias)
        before = product.apply(inputs)
        layer.weight.data.zero_(), layer.bias.data.zero_()
        assert torch.equal(product.apply(inputs), before)


def test_without_a_bias_and_in_double_precision():
    linear = nn.Linear(48, 40, bias=False).double()
    inputs = torch.randn(3, 48, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(PackedLinear(linear)(inputs), inputs @ linear.weight.T)
