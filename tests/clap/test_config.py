"""Configurations: the documented fields and defaults, checked types, kept keys, files both ways."""

import inspect
import json

import pytest
import torch
import transformers

from clapstream.clap import ClapAudioModel, ClapTextModel
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


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_configuration_as_json(ours, theirs, tmp_path):
    config = ours(initializer_factor=0.5, unknown_key=[1])
    difference = json.loads(config.to_json_string())
    assert difference == config.to_diff_dict()
    assert difference == {"model_type": ours.model_type, "initializer_factor": 0.5, "unknown_key": [1]}
    assert ours.from_dict(difference) == config
    assert json.loads(config.to_json_string(use_diff=False)) == config.to_dict()
    config.to_json_file(tmp_path / "config.json")
    assert ours.from_json_file(tmp_path / "config.json") == config
    assert theirs.from_json_file(tmp_path / "config.json").initializer_factor == 0.5


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_fields_are_updated_as_in_transformers(ours, theirs):
    values = {"projection_dim": 7, "initializer_factor": 0.25, "note": "kept"}
    config, reference = ours(), theirs()
    config.update(values)
    reference.update(values)
    for name, value in values.items():
        assert getattr(config, name) == getattr(reference, name) == value
    with pytest.raises(TypeError, match="projection_dim must be int"):
        config.update({"projection_dim": "7"})


def test_labels_of_a_head_as_in_transformers():
    config, reference = ClapTextConfig(num_labels=5), transformers.ClapTextConfig(num_labels=5)
    assert (config.num_labels, config.id2label, config.label2id) == (5, reference.id2label, reference.label2id)
    config.num_labels = 3
    assert len(config.label2id) == 3
    assert ClapTextConfig().num_labels == transformers.ClapTextConfig().num_labels == 2
    assert "id2label" not in ClapTextConfig().to_dict()


def test_the_old_name_of_the_precision_gives_a_type():
    for name in ("dtype", "torch_dtype"):
        assert ClapTextConfig(**{name: "float16"}).torch_dtype is torch.float16
    config = ClapConfig(torch_dtype=torch.bfloat16)
    assert config.torch_dtype is torch.bfloat16
    config.torch_dtype = "float16"
    assert (config.dtype, config.torch_dtype) == ("float16", torch.float16)
    assert ClapConfig().torch_dtype is None
    assert ClapConfig.from_dict(config.to_dict(), torch_dtype="float64").dtype == "float64"


@pytest.mark.parametrize("heads", [0, 1, 2])
def test_one_number_of_heads_for_all_stages(heads):
    """As transformers' ConfigTester does it: the number is kept, given or assigned."""
    config = ClapAudioConfig(num_attention_heads=heads)
    assert config.num_attention_heads == heads
    config.num_attention_heads = 4
    assert (config.num_attention_heads, config.stage_heads) == (4, [4] * 4)
    assert ClapAudioConfig().stage_heads == [4, 8, 16, 32]


def test_one_number_of_heads_builds_the_tower_of_so_many_equal_ones():
    fields = {"depths": [1, 1], "patch_embeds_hidden_size": 8, "hidden_size": 16}
    one = ClapAudioModel(ClapAudioConfig(num_attention_heads=2, **fields)).eval()
    several = ClapAudioModel(ClapAudioConfig(num_attention_heads=[2, 2], **fields)).eval()
    several.load_state_dict(one.state_dict())
    features = torch.randn(1, 1, 100, 64)
    assert torch.equal(one(features).pooler_output, several(features).pooler_output)
    with pytest.raises(ValueError, match="num_attention_heads"):
        ClapAudioModel(ClapAudioConfig(num_attention_heads=3, **fields))


@pytest.mark.parametrize(
    "function", [torch.nn.functional.gelu, torch.nn.GELU(), lambda x: torch.nn.functional.gelu(x)]
)
def test_an_activation_may_be_a_function(function, tmp_path):
    text = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    audio = {"depths": [1], "num_attention_heads": [2], "patch_embeds_hidden_size": 8, "hidden_size": 8}
    for model, config, fields, inputs in (
        (ClapTextModel, ClapTextConfig, text, torch.tensor([[0, 5, 2]])),
        (ClapAudioModel, ClapAudioConfig, audio, torch.randn(1, 1, 100, 64)),
    ):
        by_name = model(config(**fields, hidden_act="gelu")).eval()
        given = model(config(**fields, hidden_act=function)).eval()
        given.load_state_dict(by_name.state_dict())
        torch.testing.assert_close(given(inputs).pooler_output, by_name(inputs).pooler_output)
        assert "hidden_act" in repr(given.config)
        with pytest.raises(TypeError, match=r"hidden_act is a function, which config\.json cannot hold"):
            given.save_pretrained(tmp_path)
        with pytest.raises(TypeError, match="hidden_act is a function"):
            given.config.to_json_string()
    with pytest.raises(TypeError, match=r"hidden_act must be str \| a function, not 5"):
        ClapTextConfig(hidden_act=5)
    with pytest.raises(ValueError, match="unknown activation 'gelo'"):
        ClapTextModel(ClapTextConfig(**text, hidden_act="gelo"))
