"""Linear layers with prepared weights give what plain ones give, whatever happens to their weights."""

import copy
import io

import pytest
import torch
from torch.nn import functional

from clapstream.clap.kept import Kept
from clapstream.clap.linear import PreparedLinear, Product, packable_types


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return PreparedLinear(48, 40)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(48,), (5, 48), (2, 300, 48)])
def test_prepared_equals_plain(layer, shape, gelu):
    inputs = torch.randn(shape) * 3
    expected = functional.linear(inputs, layer.weight, layer.bias)
    expected = functional.gelu(expected) if gelu else expected
    torch.testing.assert_close(layer(inputs, gelu=gelu), expected)
    with torch.inference_mode():
        torch.testing.assert_close(layer(inputs, gelu=gelu), expected, rtol=1e-5, atol=2e-6)


def test_weights_are_packed_where_this_pytorch_can(layer):
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        product = Product.prepare(layer.weight.to(dtype), None)
        assert (product.weight.layout != torch.strided) == (dtype in packable_types())
    assert torch.float64 not in packable_types()


def test_without_a_bias_and_in_double_precision():
    layer = PreparedLinear(48, 40, bias=False).double()
    inputs = torch.randn(3, 48, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(layer(inputs), inputs @ layer.weight.T)


def test_autocast_decides_the_precision(layer):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(3, 48)).dtype == torch.bfloat16


def test_gradients_flow_after_an_inference(layer):
    inputs = torch.randn(3, 48)
    with torch.inference_mode():
        layer(inputs)
    layer(inputs, gelu=True).sum().backward()
    assert layer.weight.grad is not None


def test_copies_and_files_prepare_their_own(layer):
    inputs = torch.randn(3, 48)
    with torch.no_grad():
        expected = layer(inputs)
        copied = copy.deepcopy(layer)
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        for other in (copied, loaded):
            assert torch.equal(other(inputs), expected)
            other.weight.zero_()
            assert torch.equal(other(inputs), other.bias.expand(3, -1))
        assert torch.equal(layer(inputs), expected)


def test_kept_builds_once_and_again_after_a_change():
    built = []
    kept = Kept()
    source = torch.zeros(3)

    def value(tensor=source):
        def build():
            built.append(True)
            return tensor.sum()

        return kept.get((tensor,), build)

    value(), value()
    assert len(built) == 1
    source.add_(1)
    assert (float(value()), len(built)) == (3.0, 2)
    source.data.add_(1)  # not counted by PyTorch
    assert float(value()) == 3.0
    kept.forget()
    assert float(value()) == 6.0
    value(torch.ones(3))
    assert len(built) == 4
