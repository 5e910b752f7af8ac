"""The whole CLAP against transformers: embeddings, logits, loss and its gradients."""

import warnings

import numpy as np
import pytest
import torch
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for

from clapstream.clap.config import ClapConfig
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.model import ClapModel

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers


def pair_of_models(**config):
    theirs = transformers.ClapModel(transformers.ClapConfig(**config)).eval()
    randomise(theirs)
    model = ClapModel(ClapConfig(**config)).eval()
    model.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, model


def assert_same_output(found, expected, states=1e-5):
    for name in ("logits_per_audio", "logits_per_text", "text_embeds", "audio_embeds", "loss"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for tower in ("text_model_output", "audio_model_output"):
        for name in found[tower]:
            torch.testing.assert_close(found[tower][name], expected[tower][name], rtol=states, atol=states)


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def small(request):
    return pair_of_models(
        text_config=TEXT, audio_config={**AUDIO, "enable_fusion": request.param}, projection_dim=24
    )


def test_forward_and_gradients(small):
    theirs, model = small
    inputs = inputs_for(model.config, 201, pairs=5)
    expected = theirs(**inputs, return_loss=True)
    found = model(**inputs, return_loss=True, output_hidden_states=False)
    assert_same_output(found, expected)
    gradients = []
    for tower, output in ((theirs, expected), (model, found)):
        tower.zero_grad()
        output.loss.backward()
        gradients.append({name: parameter.grad for name, parameter in tower.named_parameters()})
    reference, ours = gradients
    assert ours.keys() == reference.keys()
    for name, gradient in reference.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max() + 1e-2))


def test_features_are_the_unit_length_embeddings(small):
    _, model = small
    inputs = inputs_for(model.config, 201, pairs=3)
    with torch.inference_mode():
        output = model(**inputs)
        texts = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
        sounds = model.get_audio_features(inputs["input_features"], inputs["is_longer"])
    assert torch.equal(texts, output.text_embeds)
    assert torch.equal(sounds, output.audio_embeds)
    torch.testing.assert_close(sounds.norm(dim=-1), torch.ones(3))
    with pytest.raises(TypeError, match="attention_mask has no meaning for sounds"):
        model.get_audio_features(inputs["input_features"], attention_mask=inputs["attention_mask"])


def test_features_equal_those_of_transformers(small):
    theirs, model = small
    inputs = inputs_for(model.config, 201, pairs=3)
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    sounds = {name: inputs[name] for name in ("input_features", "is_longer")}
    # transformers 5 returns the tower's output with the embedding in pooler_output; 4.34 returned the embedding.
    for found, expected in (
        (model.get_text_features(**texts), theirs.get_text_features(**texts).pooler_output),
        (model.get_audio_features(**sounds), theirs.get_audio_features(**sounds).pooler_output),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_outputs_on_request(small):
    theirs, model = small
    inputs = inputs_for(model.config, 201, pairs=2)
    wanted = {"output_attentions": True, "output_hidden_states": True}
    found = model(**inputs, return_loss=True, **wanted)
    assert_same_output(found, theirs(**inputs, return_loss=True, **wanted))
    assert len(found.audio_model_output.hidden_states) == len(found.text_model_output.attentions) + 1 == 3
    as_tuple = model(**inputs, return_dict=False)
    assert [type(value) for value in as_tuple] == [torch.Tensor] * 4 + [tuple] * 2
    assert torch.equal(as_tuple[0], model(**inputs)["logits_per_audio"])


def test_more_texts_than_sounds(small):
    _, model = small
    inputs = inputs_for(model.config, 201, pairs=3)
    inputs["input_features"], inputs["is_longer"] = inputs["input_features"][:2], inputs["is_longer"][:2]
    assert model(**inputs).logits_per_audio.shape == (2, 3)
    with pytest.raises(ValueError, match="not 3 texts for 2 sounds"):
        model(**inputs, return_loss=True)
    with pytest.raises(ValueError, match="input_features are missing"):
        model(inputs["input_ids"])


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_from_sound_to_embedding(truncation):
    """Short, whole and long sounds in one batch, through both extractors and both models."""
    audio = {
        **AUDIO,
        "spec_size": 256,
        "num_mel_bins": 64,
        "window_size": 8,
        "enable_fusion": truncation == "fusion",
    }
    theirs, model = pair_of_models(text_config=TEXT, audio_config=audio, projection_dim=24)
    random = np.random.default_rng(4)
    sounds = [random.standard_normal(length) * 0.1 for length in (100_000, 480_000, 1_200_000)]
    settings = {"frequency_min": 50, "truncation": truncation}
    np.random.seed(7)
    their_features = transformers.ClapFeatureExtractor(**settings)(
        sounds, sampling_rate=48_000, return_tensors="pt"
    )
    features = ClapFeatureExtractor(**settings)(
        sounds, sampling_rate=48_000, return_tensors="pt", generator=np.random.RandomState(7)
    )
    assert features.is_longer.flatten().tolist() == [False, False, True]
    with torch.inference_mode():
        expected = theirs.get_audio_features(**their_features).pooler_output
        torch.testing.assert_close(model.get_audio_features(**features), expected, rtol=1e-5, atol=1e-5)


def test_initial_weights_are_drawn_as_in_transformers():
    """Same distribution for each parameter: compared by mean and standard deviation."""
    config = {"text_config": TEXT, "audio_config": {**AUDIO, "enable_fusion": True}, "projection_dim": 24}
    torch.manual_seed(0)
    theirs = transformers.ClapModel(transformers.ClapConfig(**config)).state_dict()
    model = ClapModel(ClapConfig(**config)).state_dict()
    assert model.keys() == theirs.keys()
    for name, expected in theirs.items():
        found, expected = model[name].float(), expected.float()
        spread = float(expected.std(correction=0))
        assert float(found.mean()) == pytest.approx(float(expected.mean()), abs=1e-6 + spread), name
        assert float(found.std(correction=0)) == pytest.approx(spread, rel=0.35), name


@pytest.mark.slow
@pytest.mark.parametrize("fused", [False, True], ids=["unfused", "fused"])
def test_default_size(fused):
    """The geometry of the published checkpoints; the text tower of full size in the unfused one only."""
    text = {**TEXT, "hidden_size": 64} if fused else {}
    theirs, model = pair_of_models(text_config=text, audio_config={"enable_fusion": fused})
    inputs = inputs_for(model.config, 1001, pairs=2)
    with torch.inference_mode():
        expected = theirs(**inputs, return_loss=True, output_hidden_states=True)
        found = model(**inputs, return_loss=True, output_hidden_states=True)
    assert found.audio_embeds.shape == (2, 512)
    # Twelve layers deep, both are 2e-5 away from the same tower in double precision.
    assert_same_output(found, expected, states=3e-5)


BY_NAME = r"must be a tensor .*, not dict; .*model\(\*\*batch\)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model, batch: model(batch), TypeError, "input_ids " + BY_NAME),
        (lambda model, batch: model.get_audio_features(batch), TypeError, "input_features " + BY_NAME),
        (lambda model, batch: model.get_audio_features(None), TypeError, "input_features must be .*, not NoneType"),
        (lambda model, batch: model.get_audio_features(np.zeros((1, 1, 9, 16))), TypeError, "not ndarray"),
        (lambda model, batch: model.get_audio_features(torch.zeros(1, 9, 16)), ValueError, r"not \(1, 9, 16\)"),
        (lambda model, batch: model.get_text_features([[0, 7, 2]]), TypeError, "input_ids must be .*, not list"),
        (
            lambda model, batch: model.get_text_features(torch.tensor([0, 7, 2])),
            ValueError,
            r"input_ids .* not \(3,\)",
        ),
    ],
)
def test_what_is_no_batch_is_refused_by_name(call, error, message):
    model = ClapModel(ClapConfig(text_config=TEXT, audio_config=AUDIO, projection_dim=24)).eval()
    with pytest.raises(error, match=message):
        call(model, inputs_for(model.config, 201, pairs=2))
