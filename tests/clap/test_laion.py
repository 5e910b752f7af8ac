"""LAION's files: a model under laion_clap's names, wrapped as its training writes it, comes back bit for bit."""

import re

import numpy as np
import pytest
import torch

from clapstream.clap.config import ClapConfig
from clapstream.clap.hub import CheckpointError
from clapstream.clap.laion import from_laion
from clapstream.clap.model import ClapModel

TEXT = {
    "vocab_size": 50,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 30,
    "layer_norm_eps": 1e-5,
}
AUDIO = {
    "depths": [2, 1],
    "num_attention_heads": [2, 4],
    "patch_embeds_hidden_size": 16,
    "hidden_size": 32,
    "spec_size": 64,
    "num_mel_bins": 16,
    "window_size": 4,
    "mlp_ratio": 3.0,
    "num_hidden_layers": 2,
}
FUSED = {"enable_fusion": True, "fusion_type": "aff_2d", "aff_block_r": 8}
LAION_NAMES = [
    (r"^text_model\.", "text_branch."),
    (r"^audio_model\.audio_encoder\.", "audio_branch."),
    (r"_projection\.linear1\.", "_projection.0."),
    (r"_projection\.linear2\.", "_projection.2."),
    (r"^(audio_branch\.)batch_norm\.", r"\1bn0."),
    (r"(blocks\.\d+\.)layernorm_before\.", r"\1norm1."),
    (r"(blocks\.\d+\.)layernorm_after\.", r"\1norm2."),
    (r"(blocks\.\d+\.)attention\.output\.dense\.", r"\1attn.proj."),
    (r"(blocks\.\d+\.)attention\.self\.", r"\1attn."),
    (r"(blocks\.\d+\.)intermediate\.dense\.", r"\1mlp.fc1."),
    (r"(blocks\.\d+\.)output\.dense\.", r"\1mlp.fc2."),
]


def make_model(changes):
    """A small CLAP with no parameter or statistic at its trivial first value."""
    torch.manual_seed(11)
    model = ClapModel(ClapConfig(TEXT, {**AUDIO, **changes}, projection_dim=24)).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.2)
    return model


def as_laion(model):
    """The model's tensors under LAION's names, with everything else that LAION's models hold."""
    state = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in LAION_NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = value
    for key in [key for key in state if re.search(r"attn\.query\.", key)]:
        parts = [state.pop(key.replace("query", part)) for part in ("query", "key", "value")]
        state[key.replace("query", "qkv")] = torch.cat(parts)
    state["audio_branch.layers.0.blocks.1.attn_mask"] = torch.zeros(16, 16, 16)
    state["audio_branch.spectrogram_extractor.stft.conv_real.weight"] = torch.zeros(3, 1, 4)
    state["audio_branch.logmel_extractor.melW"] = torch.zeros(3, 16)
    state["audio_branch.tscam_conv.weight"] = torch.zeros(5, 32, 2, 3)
    state["audio_branch.head.bias"] = torch.zeros(5)
    state["audio_transform.sequential.0.weight"] = torch.zeros(24, 24)
    state["text_transform.sequential.3.bias"] = torch.zeros(24)
    del state["text_branch.embeddings.token_type_ids"]  # RoBERTa's own does not store it
    return state


def as_training_writes(state):
    """With the prefix of parallel training and notes beside the weights, a NumPy number among them."""
    return {
        "epoch": 15,
        "name": "a run",
        "top_k": {"score": np.float64(90.14), "ids": np.int64(3)},
        "state_dict": {f"module.{key}": value for key, value in state.items()},
    }


@pytest.mark.parametrize("changes", [{}, FUSED, {"qkv_bias": False}], ids=["unfused", "fused", "no bias"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_gives_back_the_model(changes, wrapped, tmp_path):
    model = make_model(changes)
    state = as_laion(model)
    torch.save(as_training_writes(state) if wrapped else state, tmp_path / "630k-best.pt")
    loaded = from_laion(tmp_path / "630k-best.pt")
    assert not loaded.training
    assert loaded.config == model.config
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_what_was_loaded_computes_the_same(tmp_path):
    model = make_model(FUSED)
    torch.save(as_laion(model), tmp_path / "fused.pt")
    loaded = from_laion(str(tmp_path / "fused.pt"))
    given = {
        "input_ids": torch.tensor([[0, 5, 9, 2], [0, 7, 2, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
        "input_features": torch.randn(2, 4, 101, 16, generator=torch.Generator().manual_seed(2)),
        "is_longer": torch.tensor([[True], [False]]),
    }
    with torch.inference_mode():
        assert torch.equal(loaded(**given).logits_per_audio, model(**given).logits_per_audio)


def test_auto_keeps_the_precision_of_the_file(tmp_path):
    state = as_laion(make_model({}))
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    torch.save(halves, tmp_path / "half.pt")
    assert from_laion(tmp_path / "half.pt", dtype="auto").dtype == torch.float16
    assert from_laion(tmp_path / "half.pt").dtype == torch.float32


def test_a_converted_file_can_be_saved_as_a_checkpoint(tmp_path):
    torch.save(as_laion(make_model({})), tmp_path / "unfused.pt")
    loaded = from_laion(tmp_path / "unfused.pt", dtype="float16")
    loaded.save_pretrained(tmp_path / "directory")
    again = ClapModel.from_pretrained(tmp_path / "directory")
    assert again.dtype == torch.float16
    for name, value in again.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_a_given_configuration_replaces_the_guess(tmp_path):
    config = make_model({}).config
    config.text_config.num_attention_heads = 4
    torch.save(as_laion(make_model({})), tmp_path / "file.pt")
    assert from_laion(tmp_path / "file.pt", config=config).text_model.config.num_attention_heads == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("text_projection.0.bias"), r"file.pt: has no text_projection.linear1.bias"),
        (
            lambda s: s.update({"audio_branch.extra": torch.ones(1)}),
            r"this model does not have: audio_model.*\.extra",
        ),
        (lambda s: s.pop("audio_branch.bn0.weight"), r"has no audio_branch.bn0.weight; only LAION's CLAP of HTSAT"),
        (
            lambda s: [s.pop(key) for key in list(s) if key.startswith("text_branch")],
            r"has no text_branch.embeddings.word_embeddings.weight; only LAION's",
        ),
        (
            lambda s: s.update({"audio_branch.patch_embed.proj.weight": torch.ones(16, 4, 4, 4)}),
            "fused as channels",
        ),
        (
            lambda s: s.update({"text_branch.pooler.dense.weight": torch.ones(5, 5)}),
            r"file.pt: text_model.pooler.dense.weight has shape \(5, 5\)",
        ),
        (lambda s: s.update(logit_scale_a="7"), "logit_scale_a must be a tensor, not str"),
    ],
)
def test_files_that_do_not_fit_are_named(change, message, tmp_path):
    state = as_laion(make_model({}))
    change(state)
    torch.save(state, tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=message):
        from_laion(tmp_path / "file.pt")


@pytest.mark.parametrize(
    ("content", "message"), [(b"<html>", "is a web page"), (b"x", "was not written by torch.save")]
)
def test_other_files_are_named(content, message, tmp_path):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"file.pt: {message}"):
        from_laion(tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match="there is no such file"):
        from_laion(tmp_path / "none.pt")
