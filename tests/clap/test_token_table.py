"""The tokenizer's methods beside its call: each gives what transformers' RobertaTokenizerFast gives."""

import warnings

import numpy as np
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer

from clapstream.clap import AutoTokenizer, ClapTokenizer

TEXTS = ["a dog barks outside", "rain", "", "two dogs bark at 3 o'clock, loudly"]
PAIRS = ["it rains", "a dog barks and barks and barks", "a cat", ""]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("vocabulary")
    learner = ByteLevelBPETokenizer()
    special_tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learner.train_from_iterator(
        [*TEXTS, *PAIRS] * 9, vocab_size=330, special_tokens=special_tokens, show_progress=False
    )
    learner.save_model(str(directory))
    transformers.RobertaTokenizerFast.from_pretrained(directory).save_pretrained(directory)
    return directory


@pytest.fixture
def ours(directory):
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture
def reference(directory):
    return transformers.RobertaTokenizerFast.from_pretrained(directory)


CALLS = {
    "a pair": lambda t: t(TEXTS[0], PAIRS[0]),
    "pairs": lambda t: t(TEXTS, PAIRS),
    "pairs in one list": lambda t: t(list(zip(TEXTS, PAIRS, strict=True))),
    "pairs padded": lambda t: t(TEXTS, PAIRS, padding=True, return_tensors="np"),
    **{
        f"pairs cut to {length} by {how}": lambda t, length=length, how=how: t(
            TEXTS, PAIRS, truncation=how, max_length=length
        )
        for length in (5, 9, 14)
        for how in (True, "longest_first")
    },
    "only the first": lambda t: t(TEXTS[3], PAIRS[0], truncation="only_first", max_length=9),
    "only the second": lambda t: t(TEXTS[1], PAIRS[1], truncation="only_second", max_length=9),
    "types": lambda t: t(TEXTS, PAIRS, return_token_type_ids=True),
    "words": lambda t: t(["a", "dog"], is_split_into_words=True),
    "rows of words": lambda t: t([["a", "dog"], ["rain"]], is_split_into_words=True),
    "no row of words": lambda t: t([["a"], []], is_split_into_words=True),
    "special tokens' mask": lambda t: t(TEXTS, return_special_tokens_mask=True),
    "offsets": lambda t: t(TEXTS, return_offsets_mapping=True, padding=True, return_tensors="np"),
    "offsets of what was cut": lambda t: t(
        TEXTS, PAIRS, return_offsets_mapping=True, truncation=True, max_length=9
    ),
    "length": lambda t: t(TEXTS, return_length=True),
    "a tuple": lambda t: t(tuple(TEXTS)),
    "an empty text": lambda t: t(""),
    "padding to multiples": lambda t: t(TEXTS, padding=True, pad_to_multiple_of=8),
    "pad a batch": lambda t: t.pad(t(TEXTS)),
    "pad rows": lambda t: t.pad([t(text) for text in TEXTS], return_tensors="np"),
    "pad to a length": lambda t: t.pad(t(TEXTS), padding="max_length", max_length=40),
    "pad one": lambda t: t.pad(t("a dog"), padding="max_length", max_length=9),
    "pad to multiples": lambda t: t.pad(t(TEXTS), pad_to_multiple_of=16),
    "pad without a mask": lambda t: t.pad({"input_ids": [[0, 5, 2], [0, 2]]}, return_attention_mask=False),
    "pad types": lambda t: t.pad(t(TEXTS, return_token_type_ids=True)),
    "encode": lambda t: t.encode("a dog barks"),
    "encode a pair": lambda t: t.encode("a dog", "it rains", return_tensors="np"),
    "encode without": lambda t: t.encode("a dog barks", add_special_tokens=False),
    "tokenize": lambda t: t.tokenize("a dog barks"),
    "tokenize with": lambda t: t.tokenize("a dog barks", add_special_tokens=True),
    "tokenize a pair": lambda t: t.tokenize("a dog", pair="rain"),
    "vocabulary": lambda t: t.get_vocab(),
    "added": lambda t: t.get_added_vocab(),
    "sizes": lambda t: (t.vocab_size, len(t)),
    "special tokens": lambda t: (t.all_special_tokens, t.all_special_ids, t.special_tokens_map),
    "by role": lambda t: [getattr(t, f"{role}_token") for role in ROLES],
    "ids by role": lambda t: [getattr(t, f"{role}_token_id") for role in ROLES],
    "an id": lambda t: t.convert_tokens_to_ids("<s>"),
    "an unknown token": lambda t: t.convert_tokens_to_ids("not one of them"),
    "ids": lambda t: t.convert_tokens_to_ids(["a", "<pad>", "Ġdog", "?!?"]),
    "a token": lambda t: t.convert_ids_to_tokens(5),
    "tokens": lambda t: t.convert_ids_to_tokens([0, 7, 9, 2]),
    "tokens of an array": lambda t: t.convert_ids_to_tokens(np.array([0, 7, 9, 2]), skip_special_tokens=True),
    "a string": lambda t: t.convert_tokens_to_string(t.tokenize("a dog barks, it rains")),
    "special tokens to add": lambda t: (t.num_special_tokens_to_add(), t.num_special_tokens_to_add(True)),
    "a mask": lambda t: t.get_special_tokens_mask([0, 7, 1, 2], already_has_special_tokens=True),
    "decode": lambda t: t.decode([0, 7, 9, 2]),
    "decode nothing": lambda t: t.decode([]),
    "new tokens": lambda t: (t.add_tokens(["blarp", "a"]), len(t), t("a blarp")["input_ids"]),
    "a new special token": lambda t: (
        t.add_special_tokens({"bos_token": "(BOS)", "pad_token": "<pad>"}),
        len(t),
        t.bos_token,
        t.bos_token_id,
        t("a (BOS)")["input_ids"],
    ),
    "an assigned token": lambda t: (setattr(t, "mask_token", "<s>"), t.mask_token_id, t.special_tokens_map),
}
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_what_transformers_gives(name, ours, reference):
    found, expected = CALLS[name](ours), CALLS[name](reference)
    if hasattr(expected, "keys") and "input_ids" in expected:
        assert list(found) == list(expected)
        for key in expected:
            assert type(found[key]) is type(expected[key])
            np.testing.assert_equal(found[key], expected[key])
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def test_names_of_version_4():
    tokenizer = ClapTokenizer.from_pretrained("bundled")
    assert tokenizer.encode_plus("a dog", truncation=True) == tokenizer("a dog")
    assert tokenizer.batch_encode_plus(TEXTS) == tokenizer(TEXTS)
    assert tokenizer.is_fast
    assert tokenizer.name_or_path == "bundled"
    assert tokenizer.vocab == tokenizer.get_vocab()
    assert tokenizer.backend_tokenizer is tokenizer.backend


def test_a_generator_of_texts_is_read(ours):
    assert ours(text for text in TEXTS) == ours(TEXTS)
    assert ours(iter(TEXTS), iter(PAIRS)) == ours(TEXTS, PAIRS)
    assert ours(np.array(TEXTS)) == ours(TEXTS)
    assert ours(dict.fromkeys(TEXTS).keys().__iter__()) == ours(TEXTS)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t(b"a dog"), TypeError, r"text must be .* not b'a dog' \(bytes\)"),
        (lambda t: t([b"a dog"]), TypeError, r"text: .* not b'a dog' \(bytes\)"),
        (lambda t: t(5), TypeError, r"text must be .* not 5 \(int\)"),
        (lambda t: t(["a", None]), TypeError, r"text: .* not None"),
        (lambda t: t({"a": 1}), TypeError, r"text must be .*\(dict\)"),
        (lambda t: t({"a"}), TypeError, r"text must be .*\(set\)"),
        (lambda t: t([["a"], ["b"]]), TypeError, r"text: .* not \['a'\] \(list\)"),
        (lambda t: t([["a", "b", "c"]]), TypeError, "text: .* not "),
        (lambda t: t("a", is_split_into_words=True, text_pair=[1]), TypeError, "text_pair"),
        (lambda t: t(["a", "b"], "c"), TypeError, "text_pair must be a list"),
        (lambda t: t(["a", "b"], ["c"]), ValueError, "text_pair has 1 texts for 2"),
        (lambda t: t("a", max_length=0), ValueError, "max_length must be at least 1, not 0"),
        (lambda t: t("a", truncation=True, max_length=0), ValueError, "max_length must be at least 1, not 0"),
        (lambda t: t("a", truncation=True, max_length=-1), ValueError, "max_length must be at least 1"),
        (lambda t: t("a", truncation=True, max_length=5.0), TypeError, "max_length must be a whole number"),
        (lambda t: t("a", "b", truncation=True, max_length=3), ValueError, "max_length 3 has no room"),
        (lambda t: t("a", padding=True, pad_to_multiple_of=0), ValueError, "pad_to_multiple_of must be at least 1"),
        (lambda t: t("a", truncation="only_last"), ValueError, "truncation must be one of"),
        (lambda t: t("a", padding="left"), ValueError, "padding must be one of"),
        (lambda t: t(PAIRS[1], "b", truncation="only_second", max_length=5), ValueError, "only_second"),
        (lambda t: t("a", return_overflowing_tokens=True), TypeError, "return_overflowing_tokens=True: "),
        (lambda t: t("a", stride=3), TypeError, "stride=3: "),
        (lambda t: t("a", text_target="b"), TypeError, "text_target='b': "),
        (lambda t: t("a", paddin=True), TypeError, "unknown argument: paddin"),
        (lambda t: t.pad({"attention_mask": [[1]]}), ValueError, "encoded_inputs has no input_ids"),
        (lambda t: t.pad([[1, 2]]), TypeError, "encoded_inputs must be"),
        (lambda t: t.decode([-1]), ValueError, "token_ids must not be negative"),
        (lambda t: t.decode([0.5]), TypeError, "token_ids must be one row of whole numbers"),
        (lambda t: t.decode([[0, 2]]), TypeError, "batch_decode takes several rows"),
        (lambda t: t.decode("abc"), TypeError, "token_ids"),
        (lambda t: t.convert_ids_to_tokens(-1), ValueError, "ids must be at least 0"),
        (lambda t: t.add_special_tokens({"end_token": "x"}), ValueError, "special_tokens_dict: 'end_token'"),
        (lambda t: t.no_such_method, AttributeError, "no_such_method"),
    ],
)
def test_wrong_calls_are_refused_by_name(call, error, message, ours):
    with pytest.raises(error, match=message):
        call(ours)


def test_arguments_that_say_nothing_are_taken(ours):
    said = {"stride": 0, "return_overflowing_tokens": False, "text_target": None, "verbose": False}
    assert ours("a dog", **said) == ours("a dog")


@pytest.mark.parametrize(
    "settings",
    [
        {"bos_token": "(BOS)", "eos_token": "(EOS)"},
        {"model_max_length": 6},
        {"padding_side": "left", "truncation_side": "left"},
        {"add_prefix_space": True},
        {"use_fast": True},
    ],
)
def test_settings_are_overridden_as_in_transformers(settings, directory):
    ours = AutoTokenizer.from_pretrained(directory, **settings)
    reference = transformers.RobertaTokenizerFast.from_pretrained(directory, **settings)
    assert ours.get_vocab() == reference.get_vocab()
    assert ours.special_tokens_map == reference.special_tokens_map
    arguments = {"padding": True, "truncation": True, "max_length": settings.get("model_max_length", 7)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert ours(TEXTS, **arguments) == dict(reference(TEXTS, **arguments))


def test_a_larger_vocabulary_is_saved(ours, tmp_path):
    ours.add_tokens(["blarp"])
    ours.save_pretrained(tmp_path)
    again = ClapTokenizer.from_pretrained(tmp_path)
    assert (len(again), again("a blarp")) == (len(ours), ours("a blarp"))
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)("a blarp")["input_ids"] == ours("a blarp").input_ids


def test_tensors_of_pairs(ours):
    batch = ours(TEXTS, PAIRS, padding=True, return_tensors="pt", return_length=True)
    assert batch.input_ids.shape == batch.attention_mask.shape
    assert batch.length.tolist() == [batch.input_ids.shape[1]] * len(TEXTS)
    assert isinstance(batch.input_ids, torch.Tensor)
