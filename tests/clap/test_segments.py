"""Segment embeddings: which stretch of time each is about, against transformers, and on the bundled checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.audio_towers import GEOMETRIES, SMALL, pair_of_models, spectrograms, transformers
from support.random_weights import randomise
from support.small_clap import AUDIO, TEXT, inputs_for
from torch.nn import functional

from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.config import ClapAudioConfig, ClapConfig
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.model import ClapModel
from clapstream.clap.processor import ClapProcessor

DATA = Path(__file__).parents[1] / "data"
RATE_HZ = 48_000

BUNDLED = {
    "patch_size": 24,
    "patch_stride": [16, 16],
    "patch_embeds_hidden_size": 16,
    "depths": [2, 2, 1],
    "num_attention_heads": [1, 2, 4],
    "window_size": 4,
    "hidden_size": 64,
}
"""The bundled geometry with fewer channels and layers."""

DEFAULT = {**BUNDLED, "patch_size": 4, "patch_stride": 4, "depths": [1] * 4, "num_attention_heads": [2] * 4}
DEEP = {**DEFAULT, "depths": [1] * 6, "num_attention_heads": [2] * 6}

TIMES = {
    "bundled": (BUNDLED, 16),
    "default": ({**DEFAULT, "hidden_size": 128}, 32),
    "fused": ({**DEFAULT, "hidden_size": 128, "enable_fusion": True}, 32),
    "all views as channels": (
        {**DEFAULT, "hidden_size": 128, "enable_fusion": True, "fusion_type": "channel_map"},
        32,
    ),
    "small": (SMALL, 32),
    "half the size": ({**DEFAULT, "hidden_size": 128, "spec_size": 128}, 8),
    "twice the mel bins": ({**DEFAULT, "hidden_size": 128, "num_mel_bins": 128}, 16),
    "not folded": ({**SMALL, "num_mel_bins": 64}, 8),
    "oblong patches": ({**SMALL, "patch_size": [4, 2], "patch_stride": [4, 2]}, 64),
    "three pieces": ({**SMALL, "spec_size": 60, "patch_size": 5, "patch_stride": 5, "window_size": 3}, 18),
    "rows across the border of two pieces": (
        {**DEFAULT, "hidden_size": 128, "patch_size": 3, "patch_stride": 3},
        44,
    ),
    "patches that leave a margin": ({**DEFAULT, "hidden_size": 128, "patch_size": 9, "patch_stride": 9}, 16),
    "one row a piece": ({**DEEP, "depths": [1] * 5, "hidden_size": 256}, 16),
    "two pieces a row": ({**DEEP, "hidden_size": 512}, 2),
    "all pieces in one row": ({**DEEP, "depths": [1] * 7, "num_attention_heads": [2] * 7, "hidden_size": 1024}, 1),
}
"""Configurations and how many segments they have."""


def tower_without_attention(config):
    """A tower in which every token sees only its own patches, so that nothing but the layout carries time."""
    model = ClapAudioModelWithProjection(ClapAudioConfig(**config)).eval()
    randomise(model)
    with torch.no_grad():
        for stage in model.audio_model.audio_encoder.layers:
            for layer in stage.blocks:
                layer.attention.output.dense.weight.zero_()
                layer.attention.output.dense.bias.zero_()
    return model


@pytest.mark.parametrize("name", TIMES)
def test_a_burst_changes_the_segment_that_covers_it(name):
    config, segments = TIMES[name]
    model = tower_without_attention(config)
    config = model.config
    frames = config.spec_size * (config.spec_size // config.num_mel_bins)  # so many are not stretched
    views = 4 if config.enable_fusion else 1
    spans = model.segment_spans(float(frames))  # in frames, if a frame lasts a second
    assert len(spans) == segments
    assert [span[0] for span in spans[1:]] == [span[1] for span in spans[:-1]]
    assert (spans[0][0], spans[-1][1]) == (0.0, float(frames))
    bursts = torch.full((segments + 1, views, frames, config.num_mel_bins), -60.0)
    for row, (start, end) in zip(bursts[1:], spans, strict=True):
        row[:, int(start + 0.3 * (end - start)) : int(start + 0.7 * (end - start)) + 1] = 0.0
    with torch.inference_mode():
        found = model.get_audio_segment_features(bursts)
    change = (found[1:] - found[:1]).norm(dim=-1)  # (place of the burst, segment)
    assert change.argmax(dim=1).tolist() == list(range(segments))
    assert (change.diagonal() > 0.01).all()
    if config.patch_size == config.patch_stride and name not in BETWEEN_PIECES:
        assert (change - change.diagonal().diag()).max() < 1e-6


BETWEEN_PIECES = ("rows across the border of two pieces", "patches that leave a margin")
"""Geometries whose rows do not end where a piece does."""


@pytest.mark.parametrize("name", ["bundled", "default", "fused"])
def test_a_click_at_a_known_second(name):
    """Through the feature extractor, which makes 1001 frames of ten seconds that the tower stretches to 1024."""
    config, segments = TIMES[name]
    model = tower_without_attention(config)
    extract = ClapFeatureExtractor(truncation="fusion" if model.config.enable_fusion else "rand_trunc")
    spans = model.segment_spans()
    assert spans[1][0] == 10.0 / segments
    clicked = [0, 6, segments // 2, segments - 1]
    sounds = np.random.default_rng(0).standard_normal((1, 10 * RATE_HZ)).repeat(len(clicked) + 1, 0) * 1e-4
    for sound, segment in zip(sounds[1:], clicked, strict=True):
        sound[round(sum(spans[segment]) / 2 * RATE_HZ)] = 1.0
    features = extract(sounds, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    with torch.inference_mode():  # `is_longer` marks one sound at random if none is longer, as in transformers
        found = model.get_audio_segment_features(features)
    change = (found[1:] - found[:1]).norm(dim=-1)
    assert change.argmax(dim=1).tolist() == clicked


@pytest.mark.parametrize("name", GEOMETRIES)
def test_segments_equal_the_references_frames(name):
    """Of transformers' last hidden state: the mean over frequency, through its projection."""
    config, frames = GEOMETRIES[name]
    theirs, model = pair_of_models(config, ClapAudioModelWithProjection, transformers.ClapAudioModelWithProjection)
    inputs = spectrograms(config, frames)
    with torch.inference_mode():
        expected = reference_segments(theirs, inputs)
        found = model.get_audio_segment_features(**inputs)
    assert found.shape[1] == len(model.segment_spans())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def reference_segments(theirs, inputs):
    frames = theirs.audio_model(**inputs).last_hidden_state.mean(2).transpose(1, 2)
    return functional.normalize(theirs.audio_projection(frames), dim=-1)


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def small(request):
    config = ClapConfig(text_config=TEXT, audio_config={**AUDIO, "enable_fusion": request.param}, projection_dim=24)
    model = ClapModel(config).eval()
    randomise(model)
    return model


def sounds_for(model):
    inputs = inputs_for(model.config, 201, pairs=3)
    return {name: inputs[name] for name in ("input_features", "is_longer")}


def tower_of(model):
    """The audio tower with its projection, with the weights of a whole CLAP."""
    tower = ClapAudioModelWithProjection(model.config.audio_config).eval()
    tower.load_state_dict({name: value for name, value in model.state_dict().items() if name.startswith("audio_")})
    return tower


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_embeddings_from_one_pass(small, prepared, dtype):
    sounds = sounds_for(small)
    with torch.inference_mode():
        exact = small.embed_audio(**sounds)
        for model in (copy.deepcopy(small).to(dtype), tower_of(small).to(dtype)):
            whole = model.audio_projection(model.audio_model(**sounds).pooler_output)
            if prepared:
                model.prepare_for_inference()
            passes: list[int] = []
            model.audio_model.register_forward_hook(lambda *_, passes=passes: passes.append(1))
            found = model.embed_audio(**sounds)
            assert len(passes) == 1
            segments = model.get_audio_segment_features(**sounds)
            assert found.audio_embeds.shape == (3, 24)
            assert found.segment_embeds.shape == (3, 32, 24)
            assert found.audio_embeds.dtype == found.segment_embeds.dtype == torch.float32
            assert segments.dtype == dtype
            for embeddings, expected in zip(found, exact, strict=True):
                torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(embeddings.shape[:-1]))
                least = 0.99999 if dtype == torch.float32 else 0.998
                assert functional.cosine_similarity(embeddings, expected, dim=-1).min() > least
            if dtype == torch.float32:
                expected = functional.normalize(whole, dim=-1)
                torch.testing.assert_close(found.audio_embeds, expected, rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(found.segment_embeds, segments, rtol=1e-6, atol=1e-6)


def test_the_whole_model_gives_what_its_tower_gives(small):
    sounds, tower = sounds_for(small), tower_of(small)
    with torch.inference_mode():
        found, expected = small.embed_audio(**sounds), tower.embed_audio(**sounds)
        alone = small.get_audio_features(**sounds), small.get_audio_segment_features(**sounds)
    for embeddings, of_tower, by_itself in zip(found, expected, alone, strict=True):
        assert torch.equal(embeddings, of_tower)
        torch.testing.assert_close(embeddings, by_itself, rtol=1e-6, atol=1e-6)
    assert small.segment_spans(5.0)[3] == tower.segment_spans(5.0)[3] == (3 * 5 / 32, 4 * 5 / 32)


def test_the_mean_of_the_segments_states_is_the_pooled_output(small):
    sounds = sounds_for(small)
    encoder = small.audio_model.audio_encoder
    with torch.inference_mode():
        output = small.audio_model(**sounds)
        states = encoder.segment_grid.states(output.last_hidden_state)
    torch.testing.assert_close(states.mean(1), output.pooler_output)


def test_gradients_reach_the_tower(small):
    sounds = sounds_for(small)
    small.zero_grad()
    small.get_audio_segment_features(**sounds)[:, 5].sum().backward()
    assert small.audio_model.audio_encoder.patch_embed.proj.weight.grad.abs().max() > 0
    small.zero_grad()


@pytest.fixture(scope="module")
def bundled():
    return ClapModel.from_pretrained("bundled").eval()


@pytest.fixture(scope="module")
def bundled_processor():
    return ClapProcessor.from_pretrained("bundled")


def scene(**starts):
    """Ten seconds of a quiet room with the test recordings at the given seconds, and the seconds they last."""
    samples = np.random.default_rng(0).standard_normal(10 * RATE_HZ).astype(np.float32) * 1e-3
    spans = {}
    for name, start in starts.items():
        clip, _ = soundfile.read(DATA / f"{name}.ogg", dtype="float32")
        first = round(start * RATE_HZ)
        samples[first : first + len(clip)] += clip
        spans[name] = (start, start + len(clip) / RATE_HZ)
    return samples, spans


@pytest.mark.parametrize("starts", [(1.0, 6.0), (6.5, 0.5), (3.0, 7.7), (7.5, 4.0)])
def test_the_bundled_checkpoint_hears_when(bundled, bundled_processor, starts):
    samples, heard = scene(dog_barking=starts[0], doorbell=starts[1])
    texts = ["a dog barking", "a doorbell", "a quiet room"]
    sound = bundled_processor(audio=samples, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        embeddings = bundled.get_text_features(**bundled_processor(text=texts, padding=True, return_tensors="pt"))
        cosines = bundled.embed_audio(**sound).segment_embeds[0] @ embeddings.T
    scores = cosines[:, :2] - cosines[:, 2:]
    edges = torch.tensor(bundled.segment_spans())
    middles = edges.mean(1)
    for label, (start, end) in enumerate(heard.values()):
        touching = (edges[:, 0] < end) & (edges[:, 1] > start)
        inside = (middles > start) & (middles < end)
        assert touching[scores[:, label].argmax()]
        assert scores[inside, label].mean() > scores[~touching, label].max()


def test_the_bundled_checkpoints_segments_equal_the_references_frames(bundled, bundled_processor):
    config = bundled.config.audio_config.to_dict()
    theirs = transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(**config)).eval()
    state = {name: value for name, value in bundled.state_dict().items() if name.startswith("audio_")}
    theirs.load_state_dict(state, strict=True)
    samples, _ = scene(dog_barking=2.0, doorbell=6.0)
    sound = bundled_processor(audio=samples, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        expected = theirs.audio_model(**sound).last_hidden_state
        # Its values reach 20; transformers computes attention in another order.
        found = bundled.audio_model(**sound).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-5)
        segments = bundled.get_audio_segment_features(**sound)
        torch.testing.assert_close(segments, reference_segments(theirs, sound), rtol=0, atol=1e-5)
    assert segments.shape == (1, 16, 512)
