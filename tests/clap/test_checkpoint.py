"""Checkpoints: both ways between transformers and us, bit for bit; and whatever can be wrong with one."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.tiny_checkpoint import INPUT_IDS, copy_files, write_tiny_checkpoint

from clapstream import clap
from clapstream.clap.config import ClapTextConfig
from clapstream.clap.hub import CheckpointError, CheckpointSource
from clapstream.clap.loading import load, match_keys
from clapstream.clap.loading_options import parse_dtype
from clapstream.clap.text import ClapTextModel, ClapTextModelWithProjection
from clapstream.clap.weights import open_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directory of a small CLAP, as transformers writes it."""
    directory = tmp_path_factory.mktemp("saved")
    write_tiny_checkpoint(directory)
    return directory


@pytest.fixture(scope="module")
def reference(saved):
    """The same as a model of transformers."""
    return transformers.ClapModel.from_pretrained(saved).eval()


@pytest.fixture
def directory(saved, tmp_path):
    """A copy of that directory, to be spoilt."""
    return copy_files(saved, tmp_path)


def text_part(reference):
    return {
        key: value for key, value in reference.state_dict().items() if key.startswith(("text_model.", "text_proj"))
    }


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert state[key].dtype == value.dtype, key
        assert torch.equal(state[key], value), key


def edit(directory, change):
    """Let `change` spoil the dictionary of tensors."""
    path = directory / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def test_a_tower_is_taken_out_of_a_whole_clap(reference, saved):
    model = ClapTextModelWithProjection.from_pretrained(saved)
    assert not model.training
    assert_same(model.state_dict(), text_part(reference))
    bare = ClapTextModel.from_pretrained(str(saved))
    assert_same(bare.state_dict(), reference.text_model.state_dict())
    unpooled = ClapTextModel.from_pretrained(saved, add_pooling_layer=False)
    assert torch.equal(unpooled(INPUT_IDS)[0], bare(INPUT_IDS)[0])


@pytest.mark.parametrize("name", ["ClapModel", "ClapAudioModel", "ClapAudioModelWithProjection", "ClapTextModel"])
def test_every_model_goes_both_ways(name, reference, saved, tmp_path):
    ours = getattr(clap, name).from_pretrained(saved)
    part = {"ClapAudioModel": reference.audio_model, "ClapTextModel": reference.text_model}.get(name, reference)
    expected = {key: value for key, value in part.state_dict().items() if key in ours.state_dict()}
    assert_same(ours.state_dict(), expected)
    ours.save_pretrained(tmp_path)
    theirs, report = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert_same(theirs.state_dict(), expected)
    assert_same(getattr(clap, name).from_pretrained(tmp_path).state_dict(), expected)


def test_what_was_loaded_computes_what_transformers_does(reference, saved):
    ours = clap.ClapModel.from_pretrained(saved)
    features = torch.randn(2, 1, 101, 16, generator=torch.Generator().manual_seed(1))
    given = {"input_ids": INPUT_IDS, "input_features": features}
    with torch.inference_mode():
        torch.testing.assert_close(
            ours(**given).logits_per_audio, reference(**given).logits_per_audio, atol=1e-5, rtol=1e-5
        )


def test_the_reverse_is_refused_by_name(saved, tmp_path):
    clap.ClapTextModelWithProjection.from_pretrained(saved).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="model_type is 'clap_text_model', expected 'clap'"):
        clap.ClapModel.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"model.safetensors: has no audio_model.* and \d+ more"):
        clap.ClapModel.from_pretrained(tmp_path, config=clap.ClapConfig.from_pretrained(saved))


class RecordingWeights:
    """Weights that remember which keys were read."""

    def __init__(self, weights):
        self.weights, self.location, self.shapes = weights, weights.location, weights.shapes
        self.read_keys = []

    def path(self, key):
        return self.weights.path(key)

    def read(self, key):
        self.read_keys.append(key)
        return self.weights.read(key)


def test_only_the_tower_is_read(reference, saved):
    weights = RecordingWeights(open_weights(CheckpointSource(saved)))
    model = ClapTextModelWithProjection(ClapTextConfig.from_pretrained(saved))
    load(model, weights, model.subtree)
    assert sorted(weights.read_keys) == sorted(text_part(reference))


def test_transformers_reads_what_we_write(saved, tmp_path):
    ours = ClapTextModelWithProjection.from_pretrained(saved)
    ours.save_pretrained(tmp_path)
    theirs, report = transformers.ClapTextModelWithProjection.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert_same(theirs.state_dict(), ours.state_dict())
    assert theirs.config.architectures == ["ClapTextModelWithProjection"]
    again = ClapTextModelWithProjection.from_pretrained(tmp_path)
    assert_same(again.state_dict(), ours.state_dict())
    assert ClapTextModel.from_pretrained(tmp_path).encoder is not None
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_loading_draws_no_random_numbers(saved):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ClapTextModelWithProjection.from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("form", ["shards", "pickle", "old pickle", "pickle shards"])
def test_every_form_of_weights(form, reference, saved, directory):
    whole = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    if form == "shards":
        reference.save_pretrained(directory, max_shard_size="20KB")
        assert len(list(directory.glob("model-*.safetensors"))) > 2
    elif form == "pickle shards":
        for number, keys in enumerate((list(whole)[::2], list(whole)[1::2])):
            torch.save({key: whole[key] for key in keys}, directory / f"part{number}.bin")
        index = {key: f"part{number % 2}.bin" for number, key in enumerate(whole)}
        (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    else:
        torch.save(whole, directory / "pytorch_model.bin", _use_new_zipfile_serialization=form == "pickle")
    assert_same(ClapTextModelWithProjection.from_pretrained(directory).state_dict(), text_part(reference))


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_stored_precision_is_not_the_loaded_one(stored, reference, directory):
    edit(directory, lambda state: state.update({k: half(v, stored) for k, v in state.items()}))
    model = ClapTextModelWithProjection.from_pretrained(directory)
    assert model.dtype == torch.float32  # what config.json says
    expected = {key: half(value, stored).to(value.dtype) for key, value in text_part(reference).items()}
    assert_same(model.state_dict(), expected)
    assert ClapTextModelWithProjection.from_pretrained(directory, dtype=stored).dtype == getattr(torch, stored)
    assert ClapTextModelWithProjection.from_pretrained(directory, torch_dtype=torch.float64).dtype == torch.float64


def half(value, name):
    return value.to(getattr(torch, name)) if value.is_floating_point() else value


def test_a_saved_half_stays_half(saved, tmp_path):
    model = ClapTextModelWithProjection.from_pretrained(saved, dtype="float16")
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    assert_same(ClapTextModelWithProjection.from_pretrained(tmp_path).state_dict(), model.state_dict())


def test_names_of_precisions():
    assert parse_dtype("auto") == parse_dtype(None) == torch.float32
    for wrong in ("float31", "int8", torch.int8, "nn"):
        with pytest.raises(ValueError, match="not a floating-point type"):
            parse_dtype(wrong)


def test_a_given_configuration_replaces_the_stored_one(saved):
    config = ClapTextConfig.from_pretrained(saved)
    config.layer_norm_eps = 1e-2
    model = ClapTextModelWithProjection.from_pretrained(saved, config=config)
    assert model.text_model.embeddings.LayerNorm.eps == 1e-2


def test_buffers_that_some_versions_do_not_store_may_be_missing(reference, directory):
    def drop_constants(state):
        for key in [key for key in state if key.endswith(("position_ids", "token_type_ids"))]:
            del state[key]

    edit(directory, drop_constants)
    assert_same(ClapTextModelWithProjection.from_pretrained(directory).state_dict(), text_part(reference))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("text_projection.linear1.bias"),
            r"model.safetensors: has no text_projection.linear1.bias$",
        ),
        (
            lambda s: [s.pop(key) for key in list(s) if "encoder.layer.0." in key and key.startswith("text")],
            r"has no text_model.encoder.layer.0.attention.output.LayerNorm.bias, .* and 13 more",
        ),
        (
            lambda s: s.update({"text_model.encoder.layer.2.output.dense.bias": torch.ones(16)}),
            "has keys that this model does not have: text_model.encoder.layer.2.output.dense.bias",
        ),
        (lambda s: s.update(classifier=torch.ones(1)), "has keys that this model does not have: classifier"),
        (
            lambda s: s.update({"text_projection.linear2.bias": torch.ones(13)}),
            r"model.safetensors: text_projection.linear2.bias has shape \(13,\).*asks for \(12,\)",
        ),
        (
            lambda s: s.update({"text_projection.linear2.bias": torch.ones(12, dtype=torch.int8)}),
            "model.safetensors: text_projection.linear2.bias holds torch.int8, not torch.float32",
        ),
    ],
)
def test_keys_that_do_not_fit_are_named(change, message, directory):
    edit(directory, change)
    with pytest.raises(CheckpointError, match=message):
        ClapTextModelWithProjection.from_pretrained(directory)


def test_a_damaged_part_of_the_other_tower_does_no_harm(reference, directory):
    edit(directory, lambda state: state.pop("audio_projection.linear1.bias"))
    assert_same(ClapTextModelWithProjection.from_pretrained(directory).state_dict(), text_part(reference))


def truncated(content):
    return content[: len(content) - 5000]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, r"model.safetensors: is truncated: \w+\.[\w.]+ would end at byte \d+, the file at byte \d+"),
        (lambda content: content[:20], "model.safetensors: is truncated or not a safetensors file"),
        (lambda content: content[:5], "model.safetensors: is truncated or not a safetensors file"),
        (lambda content: content + b"more", "model.safetensors: is damaged"),
        (lambda content: b"", "model.safetensors: is empty"),
        (lambda content: b"<!DOCTYPE html><html>404</html>", "model.safetensors: is a web page, not weights"),
        (lambda content: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_a_spoilt_safetensors_file_is_named(spoil, message, directory):
    path = directory / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        ClapTextModelWithProjection.from_pretrained(directory)


class Malicious:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save({"a": Malicious()}, path), "is damaged or holds more than tensors"),
        (lambda path: torch.save([torch.ones(1)], path), "must hold a state dict, not list"),
        (lambda path: torch.save({"a": "b"}, path), "a must be a tensor, not str"),
        (lambda path: path.write_bytes(b"rubbish"), "was not written by torch.save"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "was not written by torch.save"),
        (lambda path: path.write_bytes(b"<html>"), "is a web page"),
    ],
)
def test_a_spoilt_pickle_is_named(write, message, directory):
    (directory / "model.safetensors").unlink()
    write(directory / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"{directory}/pytorch_model.bin: {message}"):
        ClapTextModelWithProjection.from_pretrained(directory)


@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_pickle_is_named(new, directory):
    path = directory / "pytorch_model.bin"
    torch.save(load_file(directory / "model.safetensors"), path, _use_new_zipfile_serialization=new)
    (directory / "model.safetensors").unlink()
    path.write_bytes(truncated(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"{path}: is {'truncated' if new else 'damaged'}"):
        ClapTextModelWithProjection.from_pretrained(directory)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "index.json: has no weight_map"),
        ({}, "index.json: has no weight_map"),
        ({"a": "gone.safetensors"}, "index.json: gone.safetensors, which it names, is missing"),
        ({"a": "../model.safetensors"}, "'../model.safetensors' is not a file name"),
        ({"a": "one.safetensors"}, "one.safetensors: has no a, which model.safetensors.index.json lists in it"),
    ],
)
def test_a_wrong_index_is_reported_with_its_file(weight_map, message, directory):
    (directory / "model.safetensors").rename(directory / "one.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        ClapTextModelWithProjection.from_pretrained(directory)


def test_a_subfolder_is_looked_into(reference, saved):
    model = ClapTextModelWithProjection.from_pretrained(saved.parent, subfolder=saved.name)
    assert_same(model.state_dict(), text_part(reference))
    assert CheckpointSource("bundled").directory.name == "bundled"


def test_missing_weights_are_named(directory):
    (directory / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model.safetensors or .* or pytorch_model.bin or"):
        ClapTextModelWithProjection.from_pretrained(directory)


def test_a_configuration_that_cannot_be_built_is_named(directory):
    values = json.loads((directory / "config.json").read_text())
    values["text_config"]["num_attention_heads"] = 3
    (directory / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=f"{directory}.*3 attention heads"):
        ClapTextModelWithProjection.from_pretrained(directory)


def test_matching_prefers_the_subtree():
    assert match_keys(["a", "b.position_ids"], ["text_model.a", "audio_model.z"], "text_model.", Path("f")) == {
        "a": "text_model.a"
    }
    assert match_keys(["a"], ["a"], "text_model.", Path("f")) == {"a": "a"}
    with pytest.raises(CheckpointError, match="f: has no text_model"):
        match_keys(["a"], ["text_model.b"], "text_model.", Path("f"))
