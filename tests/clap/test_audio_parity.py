"""The audio tower against transformers: every hidden state, attention, pooled output and gradient."""

import pytest
import torch
from support.audio_towers import (
    GEOMETRIES,
    SMALL,
    assert_close,
    assert_same_output,
    pair_of_models,
    spectrograms,
    transformers,
)

from clapstream.clap.audio import ClapAudioModelWithProjection


@pytest.mark.parametrize("name", GEOMETRIES)
def test_small_geometries(name):
    config, frames = GEOMETRIES[name]
    theirs, model = pair_of_models(config)
    inputs = spectrograms(config, frames)
    expected = theirs(**inputs, output_hidden_states=True, output_attentions=True)
    assert_same_output(model(**inputs, output_hidden_states=True, output_attentions=True), expected)
    with torch.inference_mode():
        fast = model(**inputs, output_hidden_states=True)  # without attentions another way is taken
    assert_same_output(fast, expected)
    assert "attentions" not in fast


@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradients(name):
    config, frames = GEOMETRIES[name]
    config = {**config, "drop_path_rate": 0.0, "hidden_dropout_prob": 0.0}
    theirs, model = pair_of_models(config)
    inputs = spectrograms(config, frames, rows=5)  # in training fusion needs two longer rows
    for training in (False, True):
        gradients = []
        for tower in (theirs, model):
            tower.train(training).zero_grad()
            features = inputs["input_features"].clone().requires_grad_()
            output = tower(features, inputs["is_longer"])
            (output.pooler_output.square().sum() + output.last_hidden_state.sin().mean()).backward()
            gradients.append({"input": features.grad} | {name: p.grad for name, p in tower.named_parameters()})
        reference, found = gradients
        assert reference.keys() == found.keys()
        for key, gradient in reference.items():
            assert gradient is not None, key
            # The loss does not depend on a key's bias: there both gradients are nothing but rounding.
            scale = float(gradient.abs().max().clamp(min=0.1))
            assert_close(found[key], gradient, 1e-4, 1e-4 * scale, key)


@pytest.fixture(scope="module")
def default_unfused():
    return pair_of_models({})


@pytest.fixture(scope="module")
def default_fused():
    return pair_of_models({"enable_fusion": True})


# After twelve layers both are 2e-5 away from the same tower in double precision, on hidden states of up to 15.
@pytest.mark.parametrize("fixture", ["default_unfused", "default_fused"])
def test_default_size(request, fixture):
    theirs, model = request.getfixturevalue(fixture)
    inputs = spectrograms({"enable_fusion": fixture == "default_fused"}, 1001, rows=2)
    with torch.inference_mode():
        expected = theirs(**inputs, output_hidden_states=True)
        found = model(**inputs, output_hidden_states=True)
        by_one = model(inputs["input_features"][:1], inputs["is_longer"][:1])
    assert [tuple(state.shape) for state in found.hidden_states] == [
        (2, 96, 64, 64), (2, 192, 32, 32), (2, 384, 16, 16), (2, 768, 8, 8), (2, 768, 8, 8),
    ]  # fmt: skip
    assert_same_output(found, expected, tolerance=3e-5)
    assert_close(found.pooler_output, expected.pooler_output, 1e-5, 1e-5, "pooler_output")
    torch.testing.assert_close(by_one.pooler_output, found.pooler_output[:1], rtol=1e-5, atol=1e-5)


def test_fusion_changes_only_the_marked_rows():
    config, frames = GEOMETRIES["fused"]
    theirs, model = pair_of_models(config)
    features = spectrograms(config, frames)["input_features"]
    with torch.inference_mode():
        for marks in ([0, 0, 0], [1, 1, 1], [0, 1, 0]):
            is_longer = torch.tensor(marks, dtype=torch.bool)[:, None]
            expected = theirs(features, is_longer).pooler_output
            torch.testing.assert_close(model(features, is_longer).pooler_output, expected, rtol=1e-5, atol=1e-5)
        none_marked = model(features).pooler_output
        one_marked = model(features, torch.tensor([[False], [True], [False]])).pooler_output
    assert (none_marked - one_marked).abs().amax(1).gt(1e-3).tolist() == [False, True, False]


def test_before_downsampling_and_tuple():
    theirs, model = pair_of_models(SMALL)
    inputs = spectrograms(SMALL, 256)
    expected = theirs(**inputs, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    found = model(**inputs, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    assert_same_output(found, expected)
    as_tuple = model(**inputs, output_hidden_states=True, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert len(as_tuple) == 3
    assert torch.equal(as_tuple[1], model(**inputs)["pooler_output"])


@pytest.mark.parametrize("window", [4, 8, 12])
def test_always_partition(window):
    config = {**SMALL, "window_size": window}
    theirs, model = pair_of_models(config)  # transformers forgets its window size in any other call
    inputs = spectrograms(config, 256)
    arguments = {"always_partition": True, "output_hidden_states": True, "output_attentions": True}
    assert_same_output(model(**inputs, **arguments), theirs(**inputs, **arguments))


def test_projection():
    theirs, model = pair_of_models(SMALL, ClapAudioModelWithProjection, transformers.ClapAudioModelWithProjection)
    inputs = spectrograms(SMALL, 256)
    assert_same_output(model(**inputs, output_hidden_states=True), theirs(**inputs, output_hidden_states=True))
    assert model(**inputs, return_dict=False)[0].shape == (3, 24)


def test_double_precision_stays_double():
    config, frames = GEOMETRIES["small"]
    theirs, model = (tower.double() for tower in pair_of_models(config))
    features = spectrograms(config, frames)["input_features"].double()
    with torch.inference_mode():
        assert_close(model(features).pooler_output, theirs(features).pooler_output, 1e-12, 1e-12, "pooler_output")


def test_autocast_at_inference():
    config, frames = GEOMETRIES["three stages"]
    _, model = pair_of_models(config)
    inputs = spectrograms(config, frames)
    with torch.inference_mode():
        exact = model(**inputs).pooler_output
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(**inputs).pooler_output
    assert torch.nn.functional.cosine_similarity(exact, rounded.float()).min() > 0.999
    assert not torch.equal(exact, rounded)


def test_bfloat16_points_the_same_way():
    config, frames = GEOMETRIES["three stages"]
    _, model = pair_of_models(config)
    inputs = spectrograms(config, frames)
    with torch.inference_mode():
        exact = model(**inputs).pooler_output
        model.to(torch.bfloat16)
        rounded = model(inputs["input_features"].bfloat16()).pooler_output.float()
        from_exact_features = model(inputs["input_features"]).pooler_output.float()
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(exact, rounded).min() > 0.999
    assert cosine(exact, from_exact_features).min() > 0.9998
