"""Configurations: the documented fields and defaults, checked types, kept keys, files both ways."""

import inspect
import json

import pytest
import transformers

from clapstream.clap.config import ClapAudioConfig, ClapConfig, ClapTextConfig
from clapstream.clap.hub import CheckpointError

PAIRS = [
    (ClapTextConfig, transformers.ClapTextConfig),
    (ClapAudioConfig, transformers.ClapAudioConfig),
    (ClapConfig, transformers.ClapConfig),
]


def documented(theirs):
    """Defaults that transformers' own class declares, without those every configuration there has."""
    everyone = inspect.get_annotations(transformers.PreTrainedConfig)
    return {name: getattr(theirs(), name) for name in inspect.get_annotations(theirs) if name not in everyone}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_fields_and_defaults_are_those_of_transformers(ours, theirs):
    config = ours()
    expected = documented(theirs)
    assert len(expected) > 4
    for name, value in expected.items():
        if not name.endswith("_config") and name != "model_type":
            assert getattr(config, name) == (list(value) if isinstance(value, tuple) else value), name


def test_fields_of_version_4_34_that_newer_ones_dropped():
    config = ClapTextConfig()
    assert (config.position_embedding_type, config.use_cache) == ("absolute", True)
    assert ClapAudioConfig().depths == [2, 2, 6, 2]
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (1, 0, 2)


def test_lists_belong_to_one_configuration():
    depths = [1, 1]
    config = ClapAudioConfig(depths=depths)
    config.depths.append(1)
    config.num_attention_heads.append(64)
    assert depths == [1, 1]
    assert ClapAudioConfig().num_attention_heads == [4, 8, 16, 32]
    assert ClapAudioConfig(depths=(2, 3)).depths == [2, 3]


def test_a_clap_passes_its_projection_on():
    config = ClapConfig(text_config={"projection_dim": 3}, projection_dim=64, projection_hidden_act="gelu")
    assert (config.text_config.projection_dim, config.audio_config.projection_dim) == (64, 64)
    assert config.text_config.projection_hidden_act == "gelu"
    assert (config.hidden_size, config.num_hidden_layers) == (768, 12 + 4)


def test_joining_two_towers_copies_them():
    text, audio = ClapTextConfig(hidden_size=32, my_note="mine"), ClapAudioConfig(depths=[1, 1])
    config = ClapConfig.from_text_audio_configs(text, audio, projection_dim=16)
    assert (config.text_config.hidden_size, config.text_config.my_note) == (32, "mine")
    assert config.audio_config.depths == [1, 1]
    assert (config.projection_dim, config.text_config.projection_dim) == (16, 16)
    assert text.projection_dim == 512
    assert ClapConfig(text_config=text.to_dict(), audio_config=audio, projection_dim=16) == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClapTextConfig(hidden_size="768"), r"ClapTextConfig.hidden_size must be int, not '768' \(str\)"),
        (lambda: ClapTextConfig(num_hidden_layers=2.0), "num_hidden_layers must be int"),
        (lambda: ClapTextConfig(vocab_size=True), "vocab_size must be int, not True"),
        (lambda: ClapTextConfig(layer_norm_eps=None), "layer_norm_eps must be float"),
        (lambda: ClapAudioConfig(depths=[1, "2"]), r"depths must be list\[int\]"),
        (lambda: ClapAudioConfig(depths=2), "depths must be"),
        (lambda: ClapAudioConfig(enable_fusion=1), "enable_fusion must be bool"),
        (lambda: ClapAudioConfig(patch_stride=[4.0, 4]), r"patch_stride must be int \| list\[int\]"),
        (lambda: ClapAudioConfig(fusion_type=3), r"fusion_type must be str \| null"),
        (lambda: ClapConfig(projection_dim="1"), "ClapConfig.projection_dim"),
        (lambda: ClapConfig(text_config=[1]), "ClapConfig.text_config must be a dict or a ClapTextConfig"),
        (lambda: ClapConfig(text_config=ClapAudioConfig()), "ClapConfig.text_config must be"),
        (lambda: ClapConfig(audio_config={"spec_size": None}), "ClapAudioConfig.spec_size"),
        (lambda: setattr(ClapTextConfig(), "hidden_size", "x"), "hidden_size"),
    ],
)
def test_wrong_types_are_refused_by_name(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_numbers_that_are_whole_pass_for_fractions():
    assert ClapAudioConfig(mlp_ratio=4).mlp_ratio == 4


def test_precision_has_one_name_inside():
    assert ClapTextConfig(torch_dtype="float16").dtype == "float16"
    assert ClapConfig(dtype="torch.bfloat16").dtype == "bfloat16"
    assert "torch_dtype" not in ClapTextConfig(torch_dtype=None).to_dict()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_files_go_both_ways(ours, theirs, tmp_path):
    config = ours(initializer_factor=0.5, unknown_key={"kept": [1, None]})
    config.save_pretrained(tmp_path / "ours")
    read = theirs.from_pretrained(tmp_path / "ours")
    assert (read.initializer_factor, read.unknown_key) == (0.5, {"kept": [1, None]})
    assert ours.from_pretrained(tmp_path / "ours") == config
    assert ours.from_dict(config.to_dict()) == config
    read.save_pretrained(tmp_path / "theirs")
    again = ours.from_pretrained(tmp_path / "theirs")
    assert again.unknown_key == {"kept": [1, None]}
    for name in ours.documented:
        if name not in ("text_config", "audio_config"):
            assert getattr(again, name) == getattr(config, name), name


def test_a_tower_finds_its_part_in_a_whole_clap(tmp_path):
    whole = ClapConfig({"hidden_size": 32}, {"spec_size": 64}, projection_dim=16, dtype="float16")
    whole.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    del values["text_config"]["projection_dim"]  # what a person may have left to the top
    (tmp_path / "config.json").write_text(json.dumps(values))
    text = ClapTextConfig.from_pretrained(tmp_path)
    assert (text.hidden_size, text.projection_dim, text.dtype) == (32, 16, "float16")
    assert ClapAudioConfig.from_pretrained(str(tmp_path)).spec_size == 64


def test_fields_can_be_set_while_reading(tmp_path):
    ClapConfig({"hidden_size": 32}, {"spec_size": 64}).save_pretrained(tmp_path)
    whole = ClapConfig.from_pretrained(tmp_path, projection_dim=16, revision="main")
    assert (whole.text_config.projection_dim, whole.text_config.hidden_size) == (16, 32)
    assert ClapTextConfig.from_pretrained(tmp_path, vocab_size=7).vocab_size == 7
    with pytest.raises(TypeError, match="vocab_size"):
        ClapTextConfig.from_pretrained(tmp_path, vocab_size="7")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", "config.json: is not JSON"),
        ("[]", "must hold a JSON object"),
        ('{"model_type": "bert"}', "model_type is 'bert', expected 'clap'"),
        ('{"text_config": {"vocab_size": "many"}}', "config.json: ClapTextConfig.vocab_size"),
    ],
)
def test_wrong_files_are_refused_by_name(content, message, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        ClapConfig.from_pretrained(tmp_path)


def test_missing_files_are_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=f"{tmp_path}: has no config.json"):
        ClapConfig.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such directory"):
        ClapConfig.from_pretrained(tmp_path / "nowhere")


def test_towers_refuse_each_other(tmp_path):
    ClapTextConfig().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="'clap_text_model', expected 'clap_audio_model'"):
        ClapAudioConfig.from_pretrained(tmp_path)


def test_representation_shows_the_values():
    assert '"spec_size": 123' in repr(ClapAudioConfig(spec_size=123))
    assert ClapAudioConfig(return_dict=False).use_return_dict is False
