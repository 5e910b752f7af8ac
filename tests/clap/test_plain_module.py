"""The models as people use them are plain torch modules: whatever changes or replaces a layer has its effect."""

import copy
import warnings
from collections import Counter

import pytest
import torch
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from clapstream.clap.config import ClapConfig
from clapstream.clap.model import ClapModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

CONFIG = {"text_config": TEXT, "audio_config": AUDIO, "projection_dim": 24}


@pytest.fixture
def model():
    model = ClapModel(ClapConfig(**CONFIG)).eval()
    randomise(model)
    return model


@pytest.fixture
def inputs(model):
    return inputs_for(model.config, 201, pairs=4)


def embed(model, inputs):
    """Both towers' embeddings `(sounds + texts, dim)`."""
    output = model(**inputs)
    return torch.cat([output.audio_embeds, output.text_embeds]).detach()


def assert_fresh(model, inputs):
    """Inference must agree with a new model of the same weights, which has seen no others."""
    new = ClapModel(model.config).eval()
    new.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    with torch.inference_mode():
        expected = embed(new, inputs)
        assert torch.cosine_similarity(embed(model, inputs), expected).min() > 0.999999
    with torch.no_grad():
        assert torch.cosine_similarity(embed(model, inputs), expected).min() > 0.999999
    assert torch.cosine_similarity(embed(model, inputs), expected).min() > 0.999999
    return expected.clone()


OPTIMISERS = {
    "fused AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, fused=True),
    "fused Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05, fused=True),
    "fused SGD": lambda parameters: torch.optim.SGD(parameters, lr=1.0, momentum=0.9, fused=True),
    "fused Adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.05, fused=True),
    "foreach AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.05, foreach=True),
    "plain SGD": lambda parameters: torch.optim.SGD(parameters, lr=1.0, foreach=False),
    "capturable RAdam": lambda parameters: torch.optim.RAdam(parameters, lr=0.05),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_no_stale_weight_after_an_optimiser(model, inputs, name):
    before = assert_fresh(model, inputs)
    optimiser = OPTIMISERS[name](model.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        model(**inputs, return_loss=True).loss.backward()
        optimiser.step()
        after = assert_fresh(model, inputs)
    assert torch.cosine_similarity(before, after).min() < 0.99


def by_data(parameter, value):
    parameter.data[...] = value


def by_replaced_data(parameter, value):
    parameter.data = value


def by_copy(parameter, value):
    with torch.no_grad():
        parameter.copy_(value)


def by_set(parameter, value):
    with torch.no_grad():
        parameter.set_(value)


def by_numpy(parameter, value):
    parameter.detach().numpy()[...] = value.numpy()


def by_swap(parameter, value):
    torch.utils.swap_tensors(parameter, nn.Parameter(value))


WAYS = [by_data, by_replaced_data, by_copy, by_set, by_numpy, by_swap]


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
def test_no_stale_weight_after_a_write(model, inputs, write):
    """As running averages are swapped in, in all the ways that are in use."""
    before = assert_fresh(model, inputs)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        write(parameter, parameter.detach() + 0.3 * torch.randn(parameter.shape, generator=generator))
    assert torch.cosine_similarity(before, assert_fresh(model, inputs)).min() < 0.99


def test_no_stale_weight_after_other_changes(model, inputs):
    before = assert_fresh(model, inputs)
    other = ClapModel(model.config)
    randomise(other, seed=5)
    model.load_state_dict(other.state_dict())
    after = assert_fresh(model, inputs)
    assert torch.cosine_similarity(before, after).min() < 0.9
    randomise(other, seed=6)
    model.load_state_dict(other.state_dict(), assign=True)
    assert torch.cosine_similarity(after, assert_fresh(model, inputs)).min() < 0.9
    nn.utils.vector_to_parameters(0.5 * nn.utils.parameters_to_vector(model.parameters()), model.parameters())
    assert_fresh(model, inputs)
    assert_fresh(model.to(torch.bfloat16).to(torch.float32), inputs)
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    randomise(model, seed=7)
    averaged.update_parameters(model)
    averaged.update_parameters(model)
    assert_fresh(averaged.module, inputs)


def calls(model, inputs):
    """How often each module runs, by name, and the shape of the first input of each."""
    counted, shapes = Counter(), {}
    hooks = []
    for name, module in model.named_modules():
        for register in (module.register_forward_pre_hook, module.register_forward_hook):

            def count(module, given, *output, name=name):
                counted[name, len(output)] += 1
                if given and isinstance(given[0], torch.Tensor):
                    shapes[name] = tuple(given[0].shape)

            hooks.append(register(count))
    with torch.no_grad():
        model(**inputs)
    for hook in hooks:
        hook.remove()
    return counted, shapes


@pytest.mark.parametrize("fusion", [False, True], ids=["unfused", "fused"])
def test_every_module_is_called_as_in_transformers(fusion):
    """Names, types of torch's own layers, calls and shapes: what adapters, hooks and quantisation rely on."""
    config = {**CONFIG, "audio_config": {**AUDIO, "enable_fusion": fusion, "drop_path_rate": 0.1}}
    theirs = transformers.ClapModel(transformers.ClapConfig(**config)).eval()
    model = ClapModel(ClapConfig(**config)).eval()
    given = inputs_for(model.config, 201, pairs=4)
    names = {name: type(module) for name, module in model.named_modules()}
    their_names = {name: type(module) for name, module in theirs.named_modules()}
    assert names.keys() == their_names.keys()
    for name, kind in their_names.items():
        if kind.__module__.startswith("torch.nn") and not name.endswith("activation"):
            assert names[name] is kind, name
    (counted, shapes), (expected, their_shapes) = calls(model, given), calls(theirs, given)
    for name, kind in their_names.items():
        if kind is not nn.Dropout:  # fused attention calls none
            assert counted[name, 0] == counted[name, 1] == expected[name, 1], name
            if kind in (nn.Linear, nn.LayerNorm, nn.Conv2d, nn.Embedding):
                assert shapes[name] == their_shapes[name], name


def test_every_linear_layer_of_the_default_size_is_called():
    from clapstream.clap.audio import ClapAudioModelWithProjection
    from clapstream.clap.config import ClapAudioConfig

    model = ClapAudioModelWithProjection(ClapAudioConfig()).eval()
    counted, _ = calls(model, {"input_features": torch.zeros(1, 1, 1001, 64)})
    linears = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    assert [counted[name, 1] for name in linears] == [1] * 77  # 75 in the tower, 2 in the projection


def changes_embeddings(model, inputs, change):
    before = embed(model, inputs)
    change()
    with torch.no_grad():
        after = embed(model, inputs)
    torch.testing.assert_close(embed(model, inputs), after, rtol=1e-4, atol=1e-5)
    return not torch.allclose(before[:4], after[:4], atol=1e-4), not torch.allclose(
        before[4:], after[4:], atol=1e-4
    )


LAYERS = [
    "audio_model.audio_encoder.layers.0.blocks.1.attention.self.query",
    "audio_model.audio_encoder.layers.0.blocks.1.attention.self.key",
    "audio_model.audio_encoder.layers.0.blocks.1.attention.self.value",
    "audio_model.audio_encoder.layers.1.blocks.0.attention.output.dense",
    "audio_model.audio_encoder.layers.1.blocks.0.intermediate.dense",
    "audio_model.audio_encoder.layers.1.blocks.1.output.dense",
    "audio_model.audio_encoder.layers.0.downsample.reduction",
    "audio_model.audio_encoder.patch_embed.proj",
    "audio_model.audio_encoder.patch_embed.norm",
    "audio_model.audio_encoder.layers.0.blocks.0.layernorm_before",
    "audio_model.audio_encoder.layers.0.blocks.0.layernorm_after",
    "audio_model.audio_encoder.batch_norm",
    "audio_model.audio_encoder.norm",
    "audio_projection.linear1",
    "audio_projection.activation",
    "audio_model.audio_encoder.layers.1.blocks.0.intermediate.intermediate_act_fn",
    "text_model.embeddings.word_embeddings",
    "text_model.embeddings.LayerNorm",
    "text_model.encoder.layer.0.attention.self.value",
    "text_model.encoder.layer.1.intermediate.dense",
    "text_model.encoder.layer.1.intermediate.intermediate_act_fn",
    "text_model.pooler.dense",
    "text_projection.linear2",
]


class Wrapped(nn.Module):
    """Somebody's own layer in the place of another."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *given):
        output = self.inner(*given)
        return output + 0.5 * output.roll(1, -1)


@pytest.mark.parametrize("name", LAYERS)
def test_replaced_layers_and_hooks_have_their_effect(model, inputs, name):
    is_audio = name.startswith("audio")
    hooked = copy.deepcopy(model)
    hook = hooked.get_submodule(name).register_forward_hook(
        lambda module, given, output: output + 0.5 * output.roll(1, -1)
    )
    replaced = copy.deepcopy(model)
    parent, _, last = name.rpartition(".")
    wrap = Wrapped(replaced.get_submodule(name))
    assert changes_embeddings(replaced, inputs, lambda: setattr(replaced.get_submodule(parent), last, wrap)) == (
        is_audio,
        not is_audio,
    )
    torch.testing.assert_close(embed(hooked, inputs), embed(replaced, inputs))
    hook.remove()
    torch.testing.assert_close(embed(hooked, inputs), embed(model, inputs))


REPARAMETRISATIONS = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.6),
    "prune structured": lambda layer: prune.ln_structured(layer, "weight", 0.5, n=2, dim=0),
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer.train()).eval(),
    "old spectral_norm": lambda layer: nn.utils.spectral_norm(layer).eval(),
    "orthogonal": lambda layer: parametrizations.orthogonal(layer),
    "parametrization": lambda layer: parametrize.register_parametrization(layer, "weight", nn.Hardtanh(-0.1, 0.1)),
}


@pytest.mark.parametrize("kind", REPARAMETRISATIONS)
def test_reparametrised_layers(model, inputs, kind):
    def change():
        for name in LAYERS:
            layer = model.get_submodule(name)
            if type(layer) is nn.Linear:
                REPARAMETRISATIONS[kind](layer)

    assert changes_embeddings(model, inputs, change) == (True, True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.05, fused=True)
    assert changes_embeddings(model, inputs, lambda: train_once(model, inputs, optimiser)) == (True, True)


def train_once(model, inputs, optimiser):
    model(**inputs, return_loss=True).loss.backward()
    optimiser.step()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("apply", [parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"])
def test_weight_norm(model, inputs, apply):
    before = embed(model, inputs)
    layers = [model.get_submodule(name) for name in LAYERS]
    linears = [layer for layer in layers if type(layer) is nn.Linear]
    for layer in linears:
        apply(layer)
    torch.testing.assert_close(embed(model, inputs), before, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.mul_(1 + torch.linspace(0, 2, len(parameter))[:, None])
        after = embed(model, inputs)
    assert torch.cosine_similarity(before, after).max() < 0.999
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5, fused=True)
    assert changes_embeddings(model, inputs, lambda: train_once(model, inputs, optimiser)) == (True, True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per_tensor:UserWarning")
def test_dynamic_quantisation(model, inputs):
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    theirs = transformers.ClapModel(transformers.ClapConfig(**CONFIG)).eval()
    theirs.load_state_dict(model.state_dict())
    reference = torch.ao.quantization.quantize_dynamic(theirs, {nn.Linear}, dtype=torch.qint8)
    with torch.no_grad():
        exact, found, expected = embed(model, inputs), embed(quantised, inputs), embed(reference, inputs)
    assert not torch.equal(found, exact)
    assert torch.cosine_similarity(found, exact).min() > 0.9  # of a tiny model
    assert torch.cosine_similarity(found, expected).min() > 0.999
    assert not any(type(module) is nn.Linear for module in quantised.modules())


def test_monte_carlo_dropout(inputs):
    """Dropout that somebody switches on alone."""
    audio = {**AUDIO, "attention_probs_dropout_prob": 0.5, "hidden_dropout_prob": 0.0}
    model = ClapModel(ClapConfig(**{**CONFIG, "audio_config": audio})).eval()
    randomise(model)
    for module in model.audio_model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    with torch.no_grad():
        first, second = (model.get_audio_features(inputs["input_features"]) for _ in range(2))
    assert not torch.allclose(first, second)


def test_monte_carlo_dropout_of_texts(model, inputs):
    for layer in model.text_model.encoder.layer:
        layer.attention.self.dropout.p = 0.5
        layer.attention.self.dropout.train()
    with torch.no_grad():
        first, second = (model.get_text_features(inputs["input_ids"]) for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")  # of the first layers
def test_backward_hooks_of_every_layer():
    """In training all layers run, and none changes in place what a hook was given."""
    model = ClapModel(ClapConfig(**{**CONFIG, "audio_config": {**AUDIO, "enable_fusion": True}})).train()
    given = {**inputs_for(model.config, 201, pairs=4), "is_longer": torch.ones(4, 1, dtype=torch.bool)}
    layers = {name: module for name, module in model.named_modules() if not list(module.children())}
    called = set()
    for name, layer in layers.items():
        layer.register_full_backward_hook(lambda *given, name=name: called.add(name))
    model(**given, return_loss=True).loss.backward()
    assert called == layers.keys()


def test_gradient_checkpointing(model, inputs):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0

    def gradients():
        model.zero_grad()
        model(**inputs, return_loss=True).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    counted = Counter()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *given, name=name: counted.update([name]))
    expected = gradients()
    once = dict(counted)
    assert not model.is_gradient_checkpointing and set(once.values()) == {1}
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing and model.supports_gradient_checkpointing
    counted.clear()
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, expected[name])
    twice = {name for name, count in counted.items() if count == 2}
    assert "audio_model.audio_encoder.layers.1.blocks.0.intermediate.dense" in twice
    assert "text_model.encoder.layer.1.output.dense" in twice
    model.activation_checkpointing_disable()
    model.activation_checkpointing_enable()
    assert model.is_gradient_checkpointing
    with pytest.raises(TypeError, match="every_n_layers=2"):
        model.gradient_checkpointing_enable(every_n_layers=2)
    model.gradient_checkpointing_disable()
    counted.clear()
    gradients()
    assert not model.is_gradient_checkpointing and dict(counted) == once
