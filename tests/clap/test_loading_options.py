"""The arguments of `from_pretrained` in transformers' documentation: what they do, and what is refused by name."""

import inspect
import json
import warnings

import pytest
import torch
import transformers
from support.tiny_checkpoint import AUDIO, INPUT_IDS, TEXT, copy_files, write_tiny_checkpoint

from clapstream.clap import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    CheckpointError,
    ClapAudioConfig,
    ClapAudioModel,
    ClapAudioModelWithProjection,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    ClapTextModel,
    ClapTextModelWithProjection,
    ClapTokenizer,
)

MODELS = [ClapModel, ClapTextModel, ClapTextModelWithProjection, ClapAudioModel, ClapAudioModelWithProjection]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clap")
    write_tiny_checkpoint(directory)
    return directory


def edit_config(source, target, **values):
    """A copy of a checkpoint with other entries in its configuration."""
    copy_files(source, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **values}))
    return target


def assert_same_weights(model, expected):
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("auto", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(("configured", "expected"), [("float16", "float16"), (None, "bfloat16")])
def test_auto_is_the_configurations_precision_or_the_stored_one(auto, configured, expected, directory, tmp_path):
    ClapModel.from_pretrained(directory, dtype="bfloat16").save_pretrained(tmp_path / "stored")
    (tmp_path / "edited").mkdir()
    saved = edit_config(tmp_path / "stored", tmp_path / "edited", dtype=configured)
    assert ClapModel.from_pretrained(saved, **{auto: "auto"}).dtype == getattr(torch, expected)
    assert ClapTextModel.from_pretrained(saved, **{auto: "auto"}).dtype == getattr(torch, expected)
    theirs = transformers.ClapModel.from_pretrained(saved, dtype="auto")
    assert theirs.dtype == getattr(torch, expected)
    by_default = ClapModel.from_pretrained(saved).dtype
    assert by_default == (torch.float16 if configured else torch.float32)


def test_a_state_dict_takes_the_place_of_the_file(directory):
    state = {name: value + 1 for name, value in ClapModel.from_pretrained(directory).state_dict().items()}
    model = ClapModel.from_pretrained(directory, state_dict=state)
    assert torch.equal(model.text_projection.linear1.bias, state["text_projection.linear1.bias"])
    tower = ClapTextModel.from_pretrained(directory, state_dict=state)
    assert torch.equal(tower.pooler.dense.bias, state["text_model.pooler.dense.bias"])
    config = ClapConfig.from_pretrained(directory)
    again = ClapModel.from_pretrained(None, config=config, state_dict=state)
    assert_same_weights(again, model)
    with pytest.raises(CheckpointError, match="state_dict: has no"):
        ClapModel.from_pretrained(directory, state_dict={})
    with pytest.raises(CheckpointError, match="state_dict: a must be a tensor, not int"):
        ClapModel.from_pretrained(directory, state_dict={"a": 1})


@pytest.mark.parametrize("model", MODELS)
def test_fields_of_the_configuration_are_overridden(model, directory):
    loaded = model.from_pretrained(directory, output_attentions=True, output_hidden_states=True, return_dict=False)
    assert loaded.config.output_attentions
    assert loaded.config.output_hidden_states
    assert not loaded.config.return_dict
    assert not model.config_class.from_pretrained(directory).output_attentions
    assert_same_weights(loaded, model.from_pretrained(directory))


def test_overrides_act(directory):
    tower = ClapTextModel.from_pretrained(directory, output_attentions=True, layer_norm_eps=0.5)
    assert tower(INPUT_IDS).attentions is not None
    assert tower.embeddings.LayerNorm.eps == 0.5
    assert ClapTextModel.from_pretrained(directory, add_pooling_layer=False).pooler is None
    config = ClapTextConfig.from_pretrained(directory)
    given = ClapTextModel.from_pretrained(directory, config=config, output_hidden_states=True)
    assert given(INPUT_IDS).hidden_states is not None
    assert not config.output_hidden_states
    by_name = ClapTextModel.from_pretrained(directory, config=str(directory))
    assert by_name.config == config
    with pytest.raises(TypeError, match="hidden_layers"):
        ClapTextModel.from_pretrained(directory, hidden_layers=3)


@pytest.mark.parametrize("device_map", ["cpu", torch.device("cpu"), {"": "cpu"}, {"a": "cpu", "b": "cpu"}, None])
def test_a_device_map_of_one_device(device_map, directory):
    assert ClapModel.from_pretrained(directory, device_map=device_map).device.type == "cpu"


def test_an_automatic_device_map_takes_the_accelerator(directory):
    expected = "cpu" if not torch.accelerator.is_available() else torch.accelerator.current_accelerator().type
    assert ClapModel.from_pretrained(directory, device_map="auto").device.type == expected


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ({"text_model": "cpu", "audio_model": "meta"}, "device_map must name one device, not"),
        ({}, "device_map must name one device"),
        ("gpu", "device_map='gpu' is not a device"),
        ("disk", "device_map='disk' is not a device"),
        (1.5, "device_map=1.5 is not a device"),
        ("meta", "device_map='meta' has no memory"),
    ],
)
def test_other_device_maps_are_refused(device_map, message, directory):
    with pytest.raises(ValueError, match=message):
        ClapModel.from_pretrained(directory, device_map=device_map)


def test_options_that_change_nothing_here(directory):
    options = {
        "low_cpu_mem_usage": True,
        "use_safetensors": True,
        "trust_remote_code": True,
        "resume_download": True,
        "weights_only": True,
        "attn_implementation": "eager",
        "use_auth_token": None,
    }
    assert_same_weights(ClapModel.from_pretrained(directory, **options), ClapModel.from_pretrained(directory))
    for part in (ClapProcessor, ClapFeatureExtractor, ClapTokenizer, ClapConfig):
        part.from_pretrained(directory, trust_remote_code=True, resume_download=True)


def test_the_form_of_weights_is_chosen(directory, tmp_path):
    model = ClapModel.from_pretrained(directory)
    model.save_pretrained(tmp_path / "both", safe_serialization=False)
    changed = {name: value * 2 for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path / "both", state_dict=changed)
    pickled = ClapModel.from_pretrained(tmp_path / "both", use_safetensors=False)
    assert_same_weights(pickled, model)
    for choice in (True, None):
        found = ClapModel.from_pretrained(tmp_path / "both", use_safetensors=choice)
        assert torch.equal(found.logit_scale_a, 2 * model.logit_scale_a)
    with pytest.raises(CheckpointError, match=r"has no pytorch_model\.bin or pytorch_model\.bin\.index\.json"):
        ClapModel.from_pretrained(directory, use_safetensors=False)
    (tmp_path / "both" / "model.safetensors").rename(tmp_path / "both" / "model.fp16.safetensors")
    variant = ClapModel.from_pretrained(tmp_path / "both", variant="fp16")
    assert torch.equal(variant.logit_scale_a, 2 * model.logit_scale_a)
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        ClapModel.from_pretrained(tmp_path / "both", use_safetensors=True)


@pytest.mark.parametrize("model", MODELS)
def test_loading_info_lists_what_was_loaded(model, directory):
    loaded, report = model.from_pretrained(directory, output_loading_info=True)
    assert isinstance(loaded, model)
    assert report == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}


def test_mismatched_keys_are_reported_instead_of_refused(directory):
    state = dict(ClapModel.from_pretrained(directory).state_dict())
    del state["text_projection.linear1.weight"]
    state["classifier.bias"] = torch.ones(1)
    torch.manual_seed(0)
    model, report = ClapModel.from_pretrained(directory, state_dict=state, output_loading_info=True)
    assert report["missing_keys"] == ["text_projection.linear1.weight"]
    assert report["unexpected_keys"] == ["classifier.bias"]
    torch.manual_seed(0)
    fresh = ClapModel(ClapConfig.from_pretrained(directory)).text_projection.linear1.weight
    assert torch.equal(model.text_projection.linear1.weight, fresh)
    assert torch.equal(model.text_projection.linear2.weight, state["text_projection.linear2.weight"])
    with pytest.raises(CheckpointError, match=r"text_projection\.linear1\.weight"):
        ClapModel.from_pretrained(directory, state_dict=state)


def test_other_shapes_are_initialised_on_request(directory):
    with pytest.raises(CheckpointError, match="has shape"):
        ClapTextModel.from_pretrained(directory, vocab_size=70)
    with pytest.warns(UserWarning, match=r"word_embeddings.weight has shape .* newly initialised") as caught:
        model, report = ClapTextModel.from_pretrained(
            directory, vocab_size=70, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert len(caught) == 1
    assert report["mismatched_keys"] == [("embeddings.word_embeddings.weight", (60, 16), (70, 16))]
    weight = model.get_input_embeddings().weight.detach()
    assert weight.shape == (70, 16)
    assert 0.01 < float(weight.std()) < 0.03  # as a new model's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.ClapTextModelWithProjection.from_pretrained(
            directory, vocab_size=70, ignore_mismatched_sizes=True
        )
    assert float(theirs.text_model.embeddings.word_embeddings.weight.detach().std()) == pytest.approx(
        float(weight.std()), rel=0.2
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"load_in_8bit": True}, "load_in_8bit=True: "),
        ({"load_in_4bit": True}, "load_in_4bit=True: "),
        ({"quantization_config": {"bits": 8}}, "quantization_config="),
        ({"from_tf": True}, "from_tf=True: "),
        ({"from_flax": True}, "from_flax=True: "),
        ({"max_memory": {0: "1GB"}}, "max_memory="),
        ({"offload_folder": "x"}, "offload_folder='x': "),
        ({"tp_plan": "auto"}, "tp_plan='auto': "),
        ({"proxies": {"https": "x"}}, "proxies="),
        ({"return_unused_kwargs": True}, "return_unused_kwargs=True: "),
        ({"mirror": "x"}, "mirror='x': set HF_ENDPOINT"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"config": 5}, "config must be a ClapConfig, not int"),
        ({"config": {"projection_dim": 5}}, "config must be a ClapConfig, not dict"),
    ],
)
def test_what_makes_no_sense_for_clap_is_refused_by_name(option, message, directory):
    with pytest.raises(TypeError, match=message):
        ClapModel.from_pretrained(directory, **option)


def test_attributes_that_transformers_models_have(directory):
    for model in MODELS:
        theirs = getattr(transformers, model.__name__)
        assert model.main_input_name == theirs.main_input_name
        assert model.base_model_prefix == theirs.base_model_prefix
    traced = ClapTextModel.from_pretrained(directory, torchscript=True)
    assert isinstance(traced(INPUT_IDS), tuple)


def test_attention_of_other_kinds_is_refused(directory):
    with pytest.raises(ValueError, match="attn_implementation must be one of None, 'eager', 'sdpa'"):
        ClapModel.from_pretrained(directory, attn_implementation="flash_attention_2")


def test_refused_options_that_say_nothing_are_taken(directory):
    ClapModel.from_pretrained(directory, load_in_8bit=False, from_tf=False, proxies=None, max_memory=None)


@pytest.mark.parametrize(
    "part", [ClapModel, ClapTextModel, ClapConfig, ClapProcessor, ClapFeatureExtractor, ClapTokenizer, AutoModel]
)
def test_what_is_no_checkpoint_is_refused_by_name(part, tmp_path):
    laion = tmp_path / "630k-audioset-best.pt"
    laion.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"{laion}: is a file; clapstream\.clap\.from_laion reads"):
        part.from_pretrained(laion)
    with pytest.raises(CheckpointError, match="from_laion"):
        part.from_pretrained(str(laion))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=f"{weights}: is a file; give the directory that holds it"):
        part.from_pretrained(weights)
    with pytest.raises(CheckpointError, match="there is no such file or directory"):
        part.from_pretrained("gone.pt")
    with pytest.raises(CheckpointError, match="pretrained_model_name_or_path is a URL") as caught:
        part.from_pretrained("https://user:secret@example.org/clap")
    assert "secret" not in str(caught.value)
    with pytest.raises(CheckpointError, match="pretrained_model_name_or_path is empty"):
        part.from_pretrained("")
    for wrong in (None, 5, b"clap"):
        with pytest.raises(TypeError, match=r"pretrained_model_name_or_path must be a directory"):
            part.from_pretrained(wrong)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"push_to_hub": True}, "push_to_hub=True: "),
        ({"max_shard_size": "1GB"}, "max_shard_size='1GB': a checkpoint is written as one file"),
        ({"variant": "fp16"}, "variant='fp16': "),
        ({"format": "pt"}, "unknown argument: format"),
    ],
)
def test_saving_refuses_by_name(option, message, directory, tmp_path):
    with pytest.raises(TypeError, match=message):
        ClapTextModel.from_pretrained(directory).save_pretrained(tmp_path, **option)
    assert list(tmp_path.iterdir()) == []


def test_other_processes_do_not_save(directory, tmp_path):
    ClapTextModel.from_pretrained(directory).save_pretrained(tmp_path / "none", is_main_process=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("field", ["is_decoder", "add_cross_attention", "is_encoder_decoder"])
def test_decoders_are_refused_by_name(field, directory, tmp_path):
    with pytest.raises(ValueError, match=f"{field}=True: the text tower is an encoder"):
        ClapTextModel(ClapTextConfig(**{field: True}))
    with pytest.raises(ValueError, match=field):
        ClapModel(ClapConfig({**TEXT, field: True}, AUDIO))
    with pytest.raises(CheckpointError, match=field):
        ClapModel.from_pretrained(edit_config(directory, tmp_path, text_config={**TEXT, field: True}))
    ClapTextModel(ClapTextConfig(**TEXT, **{field: False}))


def test_other_fields_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match="pruned_heads"):
        ClapTextModel(ClapTextConfig(**TEXT, pruned_heads={0: [1]}))
    ClapTextModel(ClapTextConfig(**TEXT, pruned_heads={}))


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_settings_of_extractor_and_processor_are_overridden(truncation, directory):
    for part in (ClapFeatureExtractor, AutoFeatureExtractor):
        extractor = part.from_pretrained(directory, truncation=truncation, frequency_min=100)
        assert (extractor.truncation, extractor.frequency_min) == (truncation, 100)
        expected = ClapFeatureExtractor(truncation=truncation, frequency_min=100)
        assert (extractor.mel_filters == expected.mel_filters).all()
    processor = AutoProcessor.from_pretrained(
        directory, truncation=truncation, padding_value=1.0, model_max_length=7, bos_token="(BOS)"
    )
    assert processor.feature_extractor.truncation == truncation
    assert processor.feature_extractor.padding_value == 1.0
    assert processor.tokenizer.model_max_length == 7
    assert processor.tokenizer.bos_token == "(BOS)"
    assert processor.tokenizer.bos_token_id == len(processor.tokenizer) - 1
    with pytest.raises(ValueError, match="truncation must be one of"):
        ClapProcessor.from_pretrained(directory, truncation="middle")


def test_the_extractors_settings_are_found_in_the_processors_file(directory, tmp_path):
    transformers.ClapProcessor.from_pretrained(directory).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink(missing_ok=True)
    assert ClapFeatureExtractor.from_pretrained(tmp_path).truncation == "rand_trunc"
    text = ClapFeatureExtractor.from_pretrained(tmp_path).to_json_string()
    assert json.loads(text) == ClapFeatureExtractor.from_pretrained(tmp_path).to_dict()
    assert "rand_trunc" in repr(ClapFeatureExtractor.from_pretrained(tmp_path))


def test_the_auto_classes_find_what_a_checkpoint_holds(directory, tmp_path):
    assert type(AutoModel.from_pretrained(directory)) is ClapModel
    assert type(AutoConfig.from_pretrained(directory)) is ClapConfig
    assert type(AutoTokenizer.from_pretrained(directory)) is ClapTokenizer
    assert type(AutoProcessor.from_pretrained(directory)) is ClapProcessor
    assert type(AutoFeatureExtractor.from_pretrained(directory)) is ClapFeatureExtractor
    for model, found in ((ClapTextModelWithProjection, ClapTextModel), (ClapAudioModel, ClapAudioModel)):
        model.from_pretrained(directory).save_pretrained(tmp_path / found.__name__)
        assert type(AutoModel.from_pretrained(tmp_path / found.__name__)) is found
    config = AutoConfig.from_pretrained(directory, projection_dim=3)
    assert config.projection_dim == 3
    assert type(AutoModel.from_config(config)) is ClapModel
    wanted = AutoModel.from_pretrained(directory, config=ClapTextConfig.from_pretrained(directory))
    assert type(wanted) is ClapTextModel
    with pytest.raises(TypeError, match=r"AutoModel has no instances; call AutoModel\.from_pretrained"):
        AutoModel()
    with pytest.raises(TypeError, match="config must be one of CLAP's"):
        AutoModel.from_config(5)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="model_type is 'bert', expected one of clap, clap_text_model"):
        AutoModel.from_pretrained(tmp_path / "bert")


@pytest.mark.parametrize("model", [ClapModel, ClapTextModel, ClapTextModelWithProjection])
@pytest.mark.parametrize("size", [75, 60, 40])
def test_embeddings_are_resized_as_in_transformers(model, size, directory, tmp_path):
    ours = model.from_pretrained(directory)
    before = ours.get_input_embeddings().weight.detach().clone()
    found = ours.resize_token_embeddings(size)
    assert found is ours.get_input_embeddings()
    assert (found.num_embeddings, found.padding_idx) == (size, 1)
    kept = min(size, 60)
    assert torch.equal(found.weight[:kept], before[:kept])
    assert getattr(ours.config, "text_config", ours.config).vocab_size == size
    ours.save_pretrained(tmp_path)
    again = model.from_pretrained(tmp_path)
    assert_same_weights(again, ours)
    if size == 75:
        assert 0.01 < float(found.weight[60:].detach().std()) < 0.03
        features = getattr(again, "get_text_features", again)(torch.tensor([[0, 70, 2]]))
        assert features is not None


def test_resizing_rounds_up_and_refuses_by_name(directory):
    model = ClapTextModel.from_pretrained(directory)
    assert model.resize_token_embeddings(61, pad_to_multiple_of=8).num_embeddings == 64
    assert model.resize_token_embeddings().num_embeddings == 64
    with pytest.raises(ValueError, match="new_num_tokens must be at least 1"):
        model.resize_token_embeddings(0)
    with pytest.raises(ValueError, match="new_num_tokens 1 leaves out the padding token"):
        model.resize_token_embeddings(1)
    with pytest.raises(TypeError, match="resize_token_embeddings: ClapAudioModel has no text tower"):
        ClapAudioModel.from_pretrained(directory).resize_token_embeddings(5)


@pytest.mark.parametrize("name", ["ClapModel", "ClapTextModelWithProjection", "ClapAudioModelWithProjection"])
def test_parameters_are_counted_as_in_transformers(name, directory):
    ours = next(model for model in MODELS if model.__name__ == name).from_pretrained(directory)
    theirs = getattr(transformers, name).from_pretrained(directory)
    for model in (ours, theirs):
        next(iter(model.parameters())).requires_grad_(False)
    for arguments in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
        assert ours.num_parameters(**arguments) == theirs.num_parameters(**arguments)
    assert ours.get_output_embeddings() is None
    ours.tie_weights()


def test_positions_of_arguments_are_those_of_version_4_34(directory):
    names = list(inspect.signature(ClapTextModelWithProjection.forward).parameters)
    assert names[1:7] == [
        "input_ids",
        "attention_mask",
        "position_ids",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
    ]
    model = ClapTextModelWithProjection.from_pretrained(directory)
    output = model(INPUT_IDS, torch.ones_like(INPUT_IDS), None, True, True, False)
    assert isinstance(output, tuple)
    assert len(output) == 4


@pytest.mark.parametrize("marks", [torch.ones(1, 1, dtype=torch.bool), torch.ones(4, 1, dtype=torch.bool)])
def test_marks_for_another_number_of_sounds_are_refused(marks):
    model = ClapAudioModel(ClapAudioConfig(**AUDIO, enable_fusion=True)).eval()
    features = torch.zeros(3, 4, 60, 16)
    with pytest.raises(ValueError, match=rf"is_longer has {len(marks)} marks for 3 sounds"):
        model(features, marks)
    with pytest.raises(TypeError, match="is_longer must be a tensor"):
        model(features, [[True]] * 3)
    assert model(features, marks[:1].expand(3, 1)).pooler_output.shape == (3, 16)


@pytest.mark.parametrize("model", [*MODELS, AutoModel])
def test_loading_on_the_meta_device_is_refused(model, directory):
    with torch.device("meta"), pytest.raises(RuntimeError, match="cannot load weights while the default device is"):
        model.from_pretrained(directory)
    with torch.device("cpu"):
        assert model.from_pretrained(directory).device.type == "cpu"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_returns_tuples_for_being_traced(model, directory):
    traced = model.from_pretrained(directory, torchscript=True)
    given = {"input_ids": INPUT_IDS, "input_features": torch.zeros(1, 1, 60, 16)}
    wanted = inspect.signature(model.forward).parameters
    assert isinstance(traced(**{name: value for name, value in given.items() if name in wanted}), tuple)


def test_a_new_model_takes_the_options_of_loading(directory):
    config = AutoConfig.from_pretrained(directory)
    assert AutoModel.from_config(config).dtype == torch.float32
    for name in ("dtype", "torch_dtype"):
        found = AutoModel.from_config(config, **{name: "bfloat16"}, attn_implementation="sdpa")
        assert found.dtype == torch.bfloat16
    with pytest.raises(TypeError, match="quantization_config"):
        AutoModel.from_config(config, quantization_config={"bits": 4})
