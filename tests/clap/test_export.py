"""Graphs of the models for any number of sounds: tracing, export, ONNX, compilation, function transforms."""

import copy
import io
import logging
import pickle

import pytest
import torch
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim
from torch.func import functional_call

from clapstream.clap.config import ClapConfig
from clapstream.clap.model import ClapModel

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore::torch.jit.TracerWarning",
)
NAMES = ("input_ids", "attention_mask", "input_features", "is_longer")
BATCH = Dim("batch", min=1, max=64)
SIZES = (1, 2, 5)
"""Batch sizes to compare at; graphs are recorded at two."""


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def model(request):
    audio = {**AUDIO, "enable_fusion": request.param}
    model = ClapModel(ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=24)).eval()
    randomise(model)
    return model.requires_grad_(False)


class Positional(nn.Module):
    """Tensors in, tensors out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, input_features, is_longer):
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, input_features=input_features, is_longer=is_longer
        )
        return output.logits_per_audio, output.text_embeds, output.audio_embeds


@pytest.fixture(scope="module")
def positional(model):
    return Positional(model).eval()


def given(model, size):
    inputs = inputs_for(model.config, 201, pairs=size)
    return tuple(inputs[name] for name in NAMES)


def assert_same(run, model, sizes=SIZES):
    """What `run` makes of positional inputs is what the model makes of them."""
    for size in sizes:
        arguments = given(model, size)
        for found, expected in zip(run(*arguments), Positional(model)(*arguments), strict=True):
            torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("check", [True, False])
def test_jit_trace(model, positional, check):
    traced = torch.jit.trace(positional, given(model, 2), check_trace=check)
    assert_same(traced, model)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    assert_same(torch.jit.load(file), model)


def test_jit_trace_of_the_model_itself(model):
    """With tuples, as the reference's own test has it, and a tower with its dictionary."""
    _, _, features, is_longer = given(model, 2)
    tower = torch.jit.trace(model.audio_model, (features, is_longer), strict=False)
    _, _, features, is_longer = given(model, 3)
    expected = model.audio_model(features, is_longer).pooler_output
    torch.testing.assert_close(tower(features, is_longer)["pooler_output"], expected, rtol=1e-4, atol=1e-5)
    tuples = copy.deepcopy(model)
    tuples.config.return_dict = False
    ids, _, features, is_longer = given(model, 2)
    traced = torch.jit.trace(tuples, (ids, features, is_longer))
    ids, _, features, is_longer = given(model, 5)
    expected = model(ids, features, is_longer).logits_per_audio
    torch.testing.assert_close(traced(ids, features, is_longer)[0], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_export_with_a_dynamic_batch(model, positional, strict):
    shapes = tuple({0: BATCH} for _ in NAMES)
    program = torch.export.export(positional, given(model, 2), dynamic_shapes=shapes, strict=strict)
    assert_same(program.module(), model)
    if strict:
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        assert_same(torch.export.load(file).module(), model)


def test_export_of_the_model_itself(model):
    """Its output object is a tree, which comes out again."""
    arguments = dict(zip(NAMES, given(model, 2), strict=True))
    shapes = {name: {0: BATCH} for name in NAMES}
    program = torch.export.export(model, (), arguments, dynamic_shapes=shapes, strict=False)
    arguments = dict(zip(NAMES, given(model, 3), strict=True))
    found, expected = program.module()(**arguments), model(**arguments)
    assert type(found) is type(expected) and list(found) == list(expected)
    torch.testing.assert_close(found.logits_per_audio, expected.logits_per_audio, rtol=1e-4, atol=2e-5)
    pooled = found.audio_model_output.pooler_output
    torch.testing.assert_close(pooled, expected.audio_model_output.pooler_output, rtol=1e-4, atol=2e-5)


def test_export_with_dynamic_text_length(model):
    ids, mask, _, _ = given(model, 2)
    length = Dim("length", min=2, max=28)
    shapes = ({0: BATCH, 1: length}, {0: BATCH, 1: length})
    program = torch.export.export(model.text_model, (ids, mask), dynamic_shapes=shapes, strict=False)
    ids, mask, _, _ = given(model, 3)
    ids, mask = ids.repeat(1, 2), mask.repeat(1, 2)
    expected = model.text_model(ids, mask).pooler_output
    torch.testing.assert_close(program.module()(ids, mask).pooler_output, expected, rtol=1e-4, atol=1e-5)


def test_export_in_half_precision(model):
    half = copy.deepcopy(model).to(torch.bfloat16)
    _, _, features, is_longer = given(model, 2)
    program = torch.export.export(half.audio_model, (features, is_longer), strict=False)
    found = program.module()(features, is_longer).pooler_output
    expected = model.audio_model(features, is_longer).pooler_output
    assert torch.cosine_similarity(found.float(), expected).min() > 0.999


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "dynamo", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["TorchScript", "dynamo"]
)
def test_onnx_with_a_dynamic_batch(model, positional, dynamo, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"needs the package {name}")
    shapes = {"dynamic_shapes": tuple({0: BATCH} for _ in NAMES)} if dynamo else {
        "dynamic_axes": {name: {0: "batch"} for name in NAMES}, "opset_version": 17
    }  # fmt: skip
    path = tmp_path / "clap.onnx"
    logging.disable(logging.WARNING)
    try:
        torch.onnx.export(
            positional, given(model, 2), path, input_names=list(NAMES), dynamo=dynamo, verbose=False, **shapes
        )
    finally:
        logging.disable(logging.NOTSET)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    read = {found.name for found in session.get_inputs()}

    def run(*arguments):
        values = {name: value.numpy() for name, value in zip(NAMES, arguments, strict=True) if name in read}
        return session.run(None, values)

    assert_same(run, model)


@pytest.mark.slow
def test_one_graph_for_every_batch_size(model):
    graphs = []

    def backend(graph, example):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(model, dynamic=True, backend=backend, fullgraph=True)
    with torch.inference_mode():
        for size in (2, 3, 5, 7):
            arguments = dict(zip(NAMES, given(model, size), strict=True))
            found, expected = compiled(**arguments), model(**arguments)
            torch.testing.assert_close(found.logits_per_audio, expected.logits_per_audio, rtol=1e-4, atol=2e-5)
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_construction_on_the_meta_device(model):
    state = model.state_dict()
    arguments = given(model, 2)
    for fill in (
        lambda empty: empty.to_empty(device="cpu").load_state_dict(state),
        lambda empty: empty.load_state_dict(state, assign=True),
    ):
        with torch.device("meta"):
            empty = ClapModel(model.config)
        assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
        assert {buffer.device.type for buffer in empty.buffers()} == {"meta"}
        fill(empty)
        assert_same(Positional(empty.eval()), model)
        empty.prepare_for_inference()
        assert_same(Positional(empty), model)
    meta = copy.deepcopy(model).to("meta")
    ids, mask, features, _ = (argument.to("meta") for argument in arguments)
    assert meta(ids, features, attention_mask=mask).logits_per_audio.shape == (2, 2)


def test_fake_tensors(model):
    _, _, features, _ = given(model, 2)
    with FakeTensorMode():
        fake = ClapModel(model.config).eval()
        output = fake(torch.ones(2, 9, dtype=torch.long), torch.empty(features.shape))
        output.logits_per_audio.sum().backward()
    assert output.logits_per_audio.shape == (2, 2)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_function_transforms(model):
    ids, _, features, _ = given(model, 3)
    other = copy.deepcopy(model)
    randomise(other, seed=4)
    found = functional_call(model, other.state_dict(), (ids, features)).logits_per_audio
    torch.testing.assert_close(found, other(ids, features).logits_per_audio, rtol=1e-4, atol=2e-5)
    rows = torch.vmap(lambda i, f: model(i[None], f[None]).audio_embeds[0])(ids, features)
    torch.testing.assert_close(rows, model(ids, features).audio_embeds, rtol=1e-4, atol=2e-5)

    def energy(parameters, ids, features):
        return functional_call(model, parameters, (ids[None], features[None])).logits_per_audio.sum()

    parameters = dict(model.named_parameters())
    each = torch.vmap(torch.func.grad(energy), in_dims=(None, 0, 0))(parameters, ids, features)
    one = torch.func.grad(energy)(parameters, ids[1], features[1])
    for name, expected in one.items():
        torch.testing.assert_close(each[name][1], expected, rtol=1e-3, atol=1e-3)
    direction = torch.ones_like(features)
    _, slope = torch.func.jvp(lambda f: model.audio_model(f).pooler_output, (features,), (direction,))
    step = model.audio_model(features + 0.01).pooler_output - model.audio_model(features - 0.01).pooler_output
    torch.testing.assert_close(slope, step / 0.02, rtol=0.05, atol=0.01)


def test_copies_pickles_and_data_parallel(model):
    for act in ("gelu", "gelu_new", "quick_gelu", "linear"):
        text, audio = {**TEXT, "hidden_act": act}, {**AUDIO, "hidden_act": act}
        one = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=24)).eval()
        ids, _, _, _ = given(model, 2)
        expected = one.get_text_features(ids)
        for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert torch.equal(other.get_text_features(ids), expected)
    assert_same(Positional(nn.DataParallel(model)), model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(model, dtype):
    arguments = given(model, 3)
    exact = Positional(model)(*arguments)
    with torch.autocast("cpu", dtype):
        rounded = Positional(model)(*arguments)
        own = copy.deepcopy(model).train().requires_grad_()
        loss = own(**dict(zip(NAMES, given(model, 4), strict=True)), return_loss=True).loss
    loss.backward()
    for found, expected in zip(rounded[1:], exact[1:], strict=True):
        assert torch.cosine_similarity(found.float(), expected).min() > 0.999
        assert not torch.equal(found.float(), expected)
    assert all(p.grad is None or p.grad.isfinite().all() for p in own.parameters())
