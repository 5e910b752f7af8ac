"""A model prepared for inference gives the plain one's numbers and refuses whatever it could not follow."""

import copy
import io
import pickle

import pytest
import torch
from support.audio_towers import GEOMETRIES, SMALL, assert_same_output, pair_of_models, spectrograms
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize, prune

from clapstream.clap.audio import ClapAudioModel, ClapAudioModelWithProjection
from clapstream.clap.config import ClapAudioConfig, ClapConfig, ClapTextConfig
from clapstream.clap.model import ClapModel
from clapstream.clap.preparable import InferenceOnlyError
from clapstream.clap.prepared.packed import PackedLinear
from clapstream.clap.prepared.prepare import PreparedStage
from clapstream.clap.text import ClapTextModelWithProjection

WITH_STATES = {"output_hidden_states": True}
WITH_ATTENTIONS = {"output_hidden_states": True, "output_attentions": True}


def whole_model():
    """A small CLAP with random weights, and inputs."""
    model = ClapModel(ClapConfig(text_config=TEXT, audio_config=AUDIO, projection_dim=24)).eval()
    randomise(model)
    return model, inputs_for(model.config, 201, pairs=3)


@pytest.fixture
def plain():
    return whole_model()[0]


@pytest.fixture
def inputs():
    return whole_model()[1]


@pytest.fixture
def prepared(plain):
    return copy.deepcopy(plain).prepare_for_inference()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_audio_matches_transformers(name):
    """Within 1e-5 in every geometry, on every way through the tower."""
    config, frames = GEOMETRIES[name]
    theirs, model = pair_of_models(config)
    model.prepare_for_inference()
    inputs = spectrograms(config, frames)
    for wanted in (WITH_STATES, WITH_ATTENTIONS, {**WITH_ATTENTIONS, "always_partition": True}):
        if "always_partition" in wanted:
            theirs, _ = pair_of_models(config)  # transformers forgets its window size in any other call
        found = model(**inputs, **wanted)
        assert_same_output(found, theirs(**inputs, **wanted))
    assert any(isinstance(module, PreparedStage) for module in model.modules())


@pytest.mark.parametrize("fused", [False, True])
def test_the_default_size_matches_transformers(fused):
    """As near as the plain tower, 3e-5 on hidden states of up to 15 after twelve layers."""
    theirs, model = pair_of_models({"enable_fusion": fused})
    model.prepare_for_inference()
    inputs = spectrograms({"enable_fusion": fused}, 1001, rows=2)
    with torch.inference_mode():
        assert_same_output(model(**inputs, **WITH_STATES), theirs(**inputs, **WITH_STATES), tolerance=3e-5)


def test_a_whole_model_gives_the_same_numbers(plain, prepared, inputs):
    expected, found = plain(**inputs, **WITH_ATTENTIONS), prepared(**inputs, **WITH_ATTENTIONS)
    for name in ("logits_per_audio", "text_embeds", "audio_embeds"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for tower in ("text_model_output", "audio_model_output"):
        for name, value in expected[tower].items():
            torch.testing.assert_close(found[tower][name], value, rtol=1e-5, atol=1e-5)
    assert not found.logits_per_audio.requires_grad
    linears = [module for module in prepared.modules() if isinstance(module, nn.Linear)]
    assert linears == []


def test_the_bundled_checkpoint_gives_the_same_numbers():
    plain = ClapModel.from_pretrained("bundled")
    prepared = ClapModel.from_pretrained("bundled").prepare_for_inference()
    features = torch.randn(2, 1, 1001, 64, generator=torch.Generator().manual_seed(0)) * 20 - 40
    ids = torch.tensor([[0, 17, 5, 23, 88, 2]])
    with torch.inference_mode():
        for name in ("get_audio_features", "get_text_features"):
            given = features if "audio" in name else ids
            expected = getattr(plain, name)(given)
            torch.testing.assert_close(getattr(prepared, name)(given), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(plain, inputs, dtype):
    exact = plain.get_audio_features(inputs["input_features"])
    prepared = copy.deepcopy(plain).to(dtype).prepare_for_inference()
    found = prepared.get_audio_features(inputs["input_features"])
    texts = prepared.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    assert found.dtype == texts.dtype == dtype
    assert torch.cosine_similarity(found.to(exact.dtype), exact).min() > 0.9995
    with torch.inference_mode():
        assert torch.equal(prepared.get_audio_features(inputs["input_features"]), found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_change_the_prepared_precision(prepared, inputs, dtype):
    expected = prepared(**inputs)
    with torch.autocast("cpu", dtype):
        found = prepared(**inputs)
    for name in ("audio_embeds", "text_embeds"):
        assert torch.cosine_similarity(found[name].float(), expected[name]).min() > 0.999


def test_attention_takes_the_fused_kernel():
    """With only that kernel allowed PyTorch raises where it would fall back to the slow path."""
    config, frames = GEOMETRIES["three stages"]
    _, model = pair_of_models(config)
    inputs = spectrograms(config, frames)
    expected = model(**inputs).pooler_output
    model.prepare_for_inference()
    with torch.inference_mode(), sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        torch.testing.assert_close(model(**inputs).pooler_output, expected, rtol=1e-5, atol=1e-5)


def part(path):
    return lambda model: model.get_submodule(path)


@pytest.mark.parametrize(
    "find",
    [part(""), part("audio_model.audio_encoder"), part("text_model.encoder"), part("text_projection.linear1")],
)
@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.train(),
        lambda model: model.half(),
        lambda model: model.to("cpu", torch.bfloat16),
        lambda model: model.to("meta"),
        lambda model: model.requires_grad_(),
        lambda model: model.load_state_dict(model.state_dict()),
        lambda model: model.load_state_dict(model.state_dict(), assign=True),
    ],
    ids=["train", "half", "to dtype", "to device", "requires_grad_", "load_state_dict", "assign"],
)
def test_changes_are_refused(prepared, inputs, find, change):
    expected = prepared(**inputs).logits_per_audio
    with pytest.raises(InferenceOnlyError, match="prepared for inference"):
        change(find(prepared))
    assert not any(module.training for module in prepared.modules())
    assert torch.equal(prepared(**inputs).logits_per_audio, expected)


def test_what_changes_nothing_is_no_conversion(prepared, inputs):
    expected = prepared(**inputs).logits_per_audio
    assert prepared.to("cpu").float().eval().requires_grad_(False).prepare_for_inference() is prepared
    assert torch.equal(prepared(**inputs).logits_per_audio, expected)


def test_gradients_are_refused(prepared, inputs):
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    features = inputs["input_features"].clone().requires_grad_()
    with pytest.raises(InferenceOnlyError, match="cannot compute gradients"):
        prepared.get_audio_features(features)
    with pytest.raises(RuntimeError, match="does not require grad"):
        prepared(**inputs).audio_embeds.sum().backward()
    with torch.no_grad():
        prepared.get_audio_features(features)
    for name, parameter in prepared.named_parameters():
        if "layernorm" in name or "LayerNorm" in name:
            parameter.requires_grad_()
    with pytest.raises(InferenceOnlyError, match="cannot compute gradients"):
        prepared.get_audio_features(inputs["input_features"])
    with pytest.raises(InferenceOnlyError, match="cannot compute gradients"):
        prepared.get_text_features(inputs["input_ids"])


def test_weights_that_were_packed_cannot_be_read_or_replaced(prepared):
    attention = prepared.audio_model.audio_encoder.layers[0].blocks[0].attention.self
    for module, name in (
        (attention, "query"),
        (attention, "relative_position_bias_table"),
        (prepared.audio_projection.linear1, "weight"),
        (prepared.text_model.encoder.layer[0].attention.self.query, "bias"),
    ):
        with pytest.raises(AttributeError, match=f"no {name}: this model was prepared for inference"):
            getattr(module, name)
        with pytest.raises(InferenceOnlyError, match=f"cannot replace {name}"):
            setattr(module, name, nn.Linear(2, 2))
    with pytest.raises(InferenceOnlyError, match="cannot replace dense"):
        prepared.text_model.encoder.layer[0].intermediate.dense = nn.Linear(32, 40)
    with pytest.raises(AttributeError, match="prepared for inference"):
        prune.random_unstructured(prepared.audio_projection.linear1, "weight", 0.5)


def test_parameters_that_someone_holds_are_empty(plain, inputs):
    """An optimiser of before the preparation cannot step on in vain."""
    optimiser = torch.optim.AdamW(plain.parameters(), lr=0.1, fused=True)
    plain(**inputs, return_loss=True).loss.backward()
    weight = plain.audio_model.audio_encoder.layers[0].blocks[0].attention.self.query.weight
    expected = copy.deepcopy(plain)(**inputs).logits_per_audio
    plain.prepare_for_inference()
    optimiser.step()  # no parameter has a gradient any more
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)
    assert weight.numel() == 0


def test_what_is_not_packed_stays_alive(plain, inputs):
    """Norms, embeddings and convolutions are parameters as before: a change of them is served."""
    prepared = copy.deepcopy(plain).prepare_for_inference()
    for name, parameter in prepared.named_parameters():
        parameter.data.mul_(1.1)
        plain.get_parameter(name).data.mul_(1.1)
    expected = plain(**inputs).logits_per_audio
    torch.testing.assert_close(prepared(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_state_dict_has_the_original_weights(plain, dtype, tmp_path):
    plain.to(dtype)
    expected = plain.state_dict()
    prepared = copy.deepcopy(plain).prepare_for_inference()
    found = prepared.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    name = "audio_projection.linear1.weight"
    found[name].zero_()  # a copy
    assert torch.equal(prepared.state_dict()[name], expected[name])
    prepared.save_pretrained(tmp_path)
    again = ClapModel.from_pretrained(tmp_path, dtype=dtype).state_dict()
    assert all(torch.equal(again[name], value) for name, value in expected.items())


def test_copies_and_pickles_are_prepared_too(prepared, inputs):
    expected = prepared(**inputs).logits_per_audio
    file = io.BytesIO()
    torch.save(prepared, file)
    file.seek(0)
    for other in (
        copy.deepcopy(prepared),
        pickle.loads(pickle.dumps(prepared)),
        torch.load(file, weights_only=False),
    ):
        assert other.is_prepared_for_inference
        assert torch.equal(other(**inputs).logits_per_audio, expected)
        with pytest.raises(InferenceOnlyError):
            other.train()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_recording_a_graph_is_refused(prepared, inputs):
    given = (inputs["input_features"],)
    for record in (
        lambda: torch.jit.trace(prepared.audio_model, given, strict=False),
        lambda: torch.export.export(prepared.audio_model, given, strict=False),
        lambda: torch.compile(prepared.audio_model, backend="eager")(*given),
    ):
        with pytest.raises(Exception, match="cannot compile, trace or export"):
            record()


@pytest.mark.parametrize("make", [ClapAudioModel, ClapAudioModelWithProjection])
def test_towers_alone(make):
    model = make(ClapAudioConfig(**SMALL)).eval()
    randomise(model)
    given = spectrograms(SMALL, 256)
    expected = model(**given)
    assert_same_output(model.prepare_for_inference()(**given), expected)
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)


def test_the_text_tower_alone_and_another_activation(inputs):
    for act in ("gelu", "gelu_new"):
        model = ClapTextModelWithProjection(ClapTextConfig(**TEXT, hidden_act=act)).eval()
        randomise(model)
        expected = model(inputs["input_ids"], inputs["attention_mask"]).text_embeds
        found = model.prepare_for_inference()(inputs["input_ids"], inputs["attention_mask"]).text_embeds
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_preparation_ends_training_mode(plain, inputs):
    expected = plain(**inputs).logits_per_audio
    plain.train().prepare_for_inference()
    assert not plain.training
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)


def test_under_inference_mode_too(plain, inputs):
    expected = plain(**inputs).logits_per_audio
    with torch.inference_mode():
        plain.prepare_for_inference()
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        model = ClapAudioModel(ClapAudioConfig(**SMALL)).eval()
        expected = model(**spectrograms(SMALL, 256)).pooler_output
        found = model.prepare_for_inference()(**spectrograms(SMALL, 256)).pooler_output
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


class Doubled(nn.Linear):
    """Somebody's own linear layer."""

    def forward(self, x):
        return 2 * super().forward(x)


class Negative(nn.Module):
    def forward(self, weight):
        return -weight


@pytest.mark.parametrize("name", ["query", "value", "dense"])
def test_layers_that_are_not_plain_are_left_as_they_are(plain, inputs, name):
    """Hooks, parametrizations, pruning and somebody's own layers do the same before and after."""

    def layers(model, kind):
        return [module for path, module in model.named_modules() if path.endswith(f"{kind}")]

    found = layers(plain, name)
    parametrize.register_parametrization(found[0], "weight", Negative())
    prune.random_unstructured(found[-1], "weight", 0.5)
    owner = plain.audio_model.audio_encoder.layers[1].blocks[1]
    parent = owner.attention.self if name != "dense" else owner.intermediate
    own = Doubled(*getattr(parent, name).weight.shape[::-1])
    setattr(parent, name, own)
    calls = []
    found[1].register_forward_hook(lambda module, given, output: calls.append(1) or 2 * output)
    expected = plain(**inputs).logits_per_audio
    plain.prepare_for_inference()
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == 2
    assert any(isinstance(module, PackedLinear) for module in plain.modules())
    own.weight.data.zero_()
    assert not torch.allclose(plain(**inputs).logits_per_audio, expected)


def test_a_key_without_a_bias(plain, inputs):
    attention = plain.audio_model.audio_encoder.layers[0].blocks[0].attention.self
    attention.key = nn.Linear(16, 16, bias=False)
    expected = plain(**inputs).logits_per_audio
    found = plain.prepare_for_inference()(**inputs).logits_per_audio
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_shared_layers(plain, inputs):
    blocks = plain.audio_model.audio_encoder.layers[0].blocks
    blocks[0].output = blocks[1].output
    plain.text_model.encoder.layer[1].output.dense.weight = plain.text_model.encoder.layer[0].output.dense.weight
    expected = plain(**inputs).logits_per_audio
    plain.prepare_for_inference()
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["patch_embed", "patch_embed.fusion_model"])
def test_parts_without_packed_weights_refuse_too(part):
    """The fusion normalises by the statistics of the batch in training mode, so its numbers would be others."""
    model = ClapAudioModel(ClapAudioConfig(**SMALL, enable_fusion=True)).prepare_for_inference()
    module = model.audio_encoder.get_submodule(part)
    for change in (
        lambda: module.train(),
        lambda: module.requires_grad_(),
        lambda: module.load_state_dict(module.state_dict()),
    ):
        with pytest.raises(InferenceOnlyError, match="prepared for inference"):
            change()
    assert not any(module.training for module in model.modules())


def test_the_vocabulary_stays(prepared):
    with pytest.raises(InferenceOnlyError, match="cannot resize the word embeddings"):
        prepared.resize_token_embeddings(200)


def test_weights_must_be_there(plain):
    with pytest.raises(ValueError, match="the model has no weights, it is on the device 'meta'"):
        plain.to("meta").prepare_for_inference()


def test_an_empty_batch(prepared, inputs):
    assert prepared.get_audio_features(inputs["input_features"][:0]).shape == (0, 24)
    assert prepared.get_text_features(inputs["input_ids"][:0], inputs["attention_mask"][:0]).shape == (0, 24)


def test_packed_parameters_are_counted(plain):
    counts = [plain.num_parameters(), plain.num_parameters(exclude_embeddings=True)]
    plain.prepare_for_inference()
    assert [plain.num_parameters(), plain.num_parameters(exclude_embeddings=True)] == counts
    assert plain.num_parameters(only_trainable=True) == 0


def test_the_whole_after_a_part(plain, inputs):
    expected = plain(**inputs).logits_per_audio
    plain.audio_model.prepare_for_inference()
    assert not plain.text_model.is_prepared_for_inference
    plain.prepare_for_inference()
    assert isinstance(plain.text_projection.linear1, PackedLinear)
    torch.testing.assert_close(plain(**inputs).logits_per_audio, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InferenceOnlyError, match="cannot train"):
        plain.text_model.train()
