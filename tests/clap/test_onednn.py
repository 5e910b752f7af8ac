"""Packed products give what plain ones give, and private operators stay in one module."""

import ast
import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import clapstream
from clapstream.clap.prepared.onednn import Product, native_bfloat16, packable_types
from clapstream.clap.prepared.packed import PackedLinear


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


PACKAGE = Path(clapstream.__file__).parent
CPU_INFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(not CPU_INFO.is_file(), reason="needs /proc/cpuinfo")
def test_bfloat16_is_native_where_the_processor_has_instructions_for_it():
    flags = set(CPU_INFO.read_text(encoding="utf-8").split())
    assert native_bfloat16(torch.device("cpu")) == bool(flags & {"avx512_bf16", "amx_bf16"})
    assert not native_bfloat16(torch.device("meta"))


def test_bfloat16_is_not_native_where_onednn_may_not_use_it():
    program = "import torch; from clapstream.clap.prepared.onednn import native_bfloat16, packable_types; "
    program += "print(native_bfloat16(torch.device('cpu')), packable_types())"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() in ("False (torch.float32,)", "False ()")


def test_private_operators_are_used_in_one_module():
    private = re.compile(r"mkldnn|ops\.onednn|_is_(amx|avx|vnni)\w*")
    users = [path for path in PACKAGE.rglob("*.py") if private.search(path.read_text(encoding="utf-8"))]
    assert users == [PACKAGE / "clap" / "prepared" / "onednn.py"]


def test_plain_modules_do_without_the_prepared_ones():
    """But for one import, in the function that prepares."""
    found = []
    for path in sorted((PACKAGE / "clap").glob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, (ast.Module, ast.FunctionDef)):
                for node in function.body:
                    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                    is_prepared = any(name.startswith("clapstream.clap.prepared") for name in names)
                    found += [(path.name, getattr(function, "name", ""))] if is_prepared else []
    assert found == [("preparable.py", "prepare_for_inference")]
