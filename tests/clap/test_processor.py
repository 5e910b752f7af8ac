"""The processor: texts, sounds or both, and neither's padding reaches the other."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError
from clapstream.clap.processor import ClapProcessor
from clapstream.clap.tokenizer import ClapTokenizer

TEXTS = ["a dog barks", "rain"]
SOUND_SETTINGS = {"max_length_s": 1, "sampling_rate": 8000, "truncation": "rand_trunc", "frequency_max": 4000}
SOUND = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
LONG_SOUND = np.random.default_rng(2).standard_normal(9000).astype(np.float32)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    directory = tmp_path_factory.mktemp("vocabulary")
    learner = ByteLevelBPETokenizer()
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(TEXTS * 9, vocab_size=300, special_tokens=special_tokens, show_progress=False)
    learner.save_model(str(directory))
    return directory


@pytest.fixture
def processor(vocabulary):
    return ClapProcessor(ClapFeatureExtractor(**SOUND_SETTINGS), ClapTokenizer.from_pretrained(vocabulary))


@pytest.fixture
def reference(vocabulary):
    return transformers.ClapProcessor(
        feature_extractor=transformers.ClapFeatureExtractor(**SOUND_SETTINGS),
        tokenizer=transformers.RobertaTokenizerFast.from_pretrained(vocabulary),
    )


def test_texts_and_sounds_together_are_each_as_alone(processor):
    both = processor(text=TEXTS, audio=[SOUND, SOUND[:100]], sampling_rate=8000, padding=True, return_tensors="pt")
    assert list(both) == ["input_ids", "attention_mask", "input_features", "is_longer"]
    assert set(both) == set(processor.model_input_names)
    texts = processor(text=TEXTS, padding=True, return_tensors="pt")
    sounds = processor(audios=[SOUND, SOUND[:100]], sampling_rate=8000, return_tensors="pt")
    for name, value in {**texts, **sounds}.items():
        assert torch.equal(both[name], value), name
    assert both.input_ids.shape[0] == both.input_features.shape[0] == 2


def test_each_part_is_that_of_transformers(processor, reference):
    texts = processor(TEXTS, padding="max_length", max_length=9, return_tensors="np")
    for name, value in reference(text=TEXTS, padding="max_length", max_length=9, return_tensors="np").items():
        np.testing.assert_array_equal(texts[name], value)
    sounds = processor(audio=SOUND, sampling_rate=8000, return_tensors="np")
    expected = reference(audio=SOUND, sampling_rate=8000, return_tensors="np")
    np.testing.assert_allclose(sounds["input_features"], expected["input_features"], atol=1e-4)
    np.testing.assert_array_equal(sounds["is_longer"], expected["is_longer"])


@pytest.mark.parametrize(
    "for_texts",
    [
        {"padding": True},
        {"padding": "max_length", "max_length": 20},
        {"truncation": True, "max_length": 3, "padding": True},
        {"text_kwargs": {"padding": "longest"}},
    ],
)
def test_text_arguments_do_not_change_sounds(for_texts, processor):
    alone = processor(audio=SOUND, sampling_rate=8000, return_tensors="pt")
    both = processor(TEXTS, audio=SOUND, sampling_rate=8000, return_tensors="pt", **for_texts)
    assert torch.equal(both.input_features, alone.input_features)
    assert len({len(row) for row in both.input_ids}) == 1


@pytest.mark.parametrize("said", [{"padding": "pad"}, {"audio_kwargs": {"padding": "pad"}}])
def test_sound_arguments_do_not_change_texts(said, processor):
    alone = processor(TEXTS)
    both = processor(TEXTS, SOUND, sampling_rate=8000, **said)
    assert both.input_ids == alone.input_ids
    expected = processor.feature_extractor(SOUND, padding="pad", sampling_rate=8000)
    assert np.array_equal(both.input_features, expected.input_features)
    assert not np.array_equal(both.input_features, processor(audio=SOUND, sampling_rate=8000).input_features)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"padding": True}, {}),
        ({"truncation": True}, {}),
        ({"padding": False}, {"padding": "pad"}),
        ({"max_length": 4000}, {"max_length": 4000}),
    ],
)
def test_without_texts_all_arguments_apply_to_sounds(said, meant, processor):
    found = processor(audio=SOUND, sampling_rate=8000, return_tensors="pt", **said)
    expected = processor.feature_extractor(SOUND, sampling_rate=8000, return_tensors="pt", **meant)
    assert torch.equal(found.input_features, expected.input_features)
    for wrong in ({"padding": "sideways"}, {"truncation": "sideways"}, {"max_length": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            processor(audio=SOUND, sampling_rate=8000, **wrong)


def test_generators_of_texts_and_sounds(processor):
    found = processor((text for text in TEXTS), audio=(sound for sound in [SOUND, SOUND]), sampling_rate=8000)
    assert found.input_ids == processor(TEXTS).input_ids
    assert len(found.input_features) == 2


def test_pairs_of_texts(processor):
    assert processor(TEXTS, text_pair=TEXTS[::-1]) == processor.tokenizer(TEXTS, TEXTS[::-1])


def test_random_crops_can_be_repeated(processor):
    once, again, other = (
        processor(
            audio=LONG_SOUND, sampling_rate=8000, truncation="rand_trunc", seed=seed, return_tensors="pt"
        ).input_features
        for seed in (4, 4, 5)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_decoding_is_the_tokenizers(processor):
    rows = processor(TEXTS).input_ids
    assert processor.batch_decode(rows, skip_special_tokens=True) == TEXTS
    assert processor.decode(rows[0], skip_special_tokens=True) == TEXTS[0]


def test_files_go_both_ways(processor, reference, tmp_path):
    processor.save_pretrained(tmp_path / "ours")
    theirs = transformers.ClapProcessor.from_pretrained(tmp_path / "ours")
    assert theirs(text=TEXTS)["input_ids"] == processor(TEXTS).input_ids
    assert theirs.feature_extractor.to_dict() == reference.feature_extractor.to_dict()
    reference.save_pretrained(tmp_path / "theirs")
    for directory in (tmp_path / "ours", tmp_path / "theirs"):
        again = ClapProcessor.from_pretrained(directory)
        assert again(TEXTS) == processor(TEXTS)
        assert again.feature_extractor.truncation == "rand_trunc"
        assert np.array_equal(
            again(audio=SOUND, sampling_rate=8000).input_features,
            processor(audio=SOUND, sampling_rate=8000).input_features,
        )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p(), ValueError, "give text, audio or both"),
        (lambda p: p(audio=SOUND, audios=SOUND), ValueError, "two names"),
        (lambda p: p(audio=SOUND, sampling_rate=44100), ValueError, "44100"),
        (lambda p: p(audio=SOUND, sampling_rat=8000), TypeError, "unknown argument: sampling_rat"),
        (lambda p: p("dog.wav", audio="dog.wav"), TypeError, r"audio \(raw_speech\).* not str"),
        (lambda p: p(text=5), TypeError, "text must be"),
        (lambda p: p(TEXTS, text_target=TEXTS), TypeError, "text_target="),
        (lambda p: p(audio=np.stack([SOUND, SOUND], axis=1)), ValueError, "audio.mean"),
        (lambda p: p(TEXTS, padding="sideways"), ValueError, "'sideways'"),
    ],
)
def test_wrong_calls_are_refused(call, error, message, processor):
    with pytest.raises(error, match=message):
        call(processor)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "processor_config.json: has no feature_extractor"),
        ({"feature_extractor": {"truncation": "middle"}}, "processor_config.json: truncation must be one of"),
    ],
)
def test_spoilt_settings_are_named(settings, message, processor, tmp_path):
    processor.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match=message):
        ClapProcessor.from_pretrained(tmp_path)


def test_the_keys_of_a_dictionary_are_texts_in_their_order(processor):
    labels = {"a dog barks": 1, "a bell": 2}
    assert processor(text=labels.keys())["input_ids"] == processor(text=list(labels))["input_ids"]
    with pytest.raises(TypeError, match="text must be a text or a list of texts, not"):
        processor(text={"a bell"})
