"""The tokenizer gives the ids of transformers' RobertaTokenizerFast, whichever files it is read from."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from clapstream.clap.hub import CheckpointError
from clapstream.clap.tokenizer import ClapTokenizer

SENTENCE = (
    "this is a sound of someone knocking on the door while it's raining outside and two dogs bark at 3 o'clock "
    "ein Türklopfen, das Geräusch der Waschmaschine; un bébé pleure doucement, la cafetière siffle"
)
WORDS = SENTENCE.split()
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PIECES = [
    *WORDS,
    *(
        "🐕",
        "👨‍👩‍👧‍👦",
        "🇩🇪",
        "é",
        "e\u0301",
        "日本語",
        "かな",
        "שלום",
        "مرحبا",
        "ß",
        "İ",
        "ﬁ",
        "\u200d",
        "\ufeff",
        "𝔘𝔫𝔦",
    ),
    *("'s", "n't", "'LL", "...", "?!", "--", "#", "1234567", "3.14", "<s>", "</s>", "<mask>", "<pad>", "< s >"),
    *(" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\r\n", "\x00", "\x1f", "\\", "Ġ", "Ċ"),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A directory with vocab.json and merges.txt and nothing else, learnt from a few sentences."""
    directory = tmp_path_factory.mktemp("bare")
    learner = ByteLevelBPETokenizer()
    rng = random.Random(1)
    sentences = [" ".join(rng.choices(WORDS, k=8)) for _ in range(300)]
    learner.train_from_iterator(sentences, vocab_size=600, special_tokens=SPECIAL_TOKENS, show_progress=False)
    learner.save_model(str(directory))
    return directory


@pytest.fixture(scope="module")
def reference(bare):
    return transformers.RobertaTokenizerFast.from_pretrained(bare)


@pytest.fixture(scope="module")
def saved(reference, tmp_path_factory):
    """A directory as transformers writes it: tokenizer.json and tokenizer_config.json."""
    directory = tmp_path_factory.mktemp("saved")
    reference.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def ours(bare):
    return ClapTokenizer.from_pretrained(bare)


@pytest.fixture(scope="module")
def texts():
    """Ten thousand texts: plain ones, mixtures of scripts, any code point, empty and very long ones."""
    rng = random.Random(7)
    plain = [" ".join(rng.choices(WORDS, k=rng.randrange(1, 12))) for _ in range(3000)]
    mixed = ["".join(rng.choices(PIECES, k=rng.randrange(1, 15))) for _ in range(4000)]
    code_points = [point for point in range(1, 0x2FFFF) if not 0xD800 <= point < 0xE000]
    anything = ["".join(map(chr, rng.choices(code_points, k=rng.randrange(1, 20)))) for _ in range(2900)]
    long = [" ".join(rng.choices(PIECES, k=600)) for _ in range(50)]
    return [*plain, *mixed, *anything, *long, *([""] * 40), *([" "] * 10)]


@pytest.mark.parametrize("files", ["bare", "saved"])
def test_ids_are_those_of_transformers(files, texts, reference, request):
    tokenizer = ClapTokenizer.from_pretrained(request.getfixturevalue(files))
    assert len(texts) == 10_000
    assert tokenizer(texts)["input_ids"] == reference(texts)["input_ids"]


@pytest.mark.parametrize("max_length", [2, 3, 16, 512])
def test_truncation_and_padding_are_those_of_transformers(max_length, texts, reference, ours):
    sample = texts[::60]
    for padding in (True, "max_length"):
        arguments = {"padding": padding, "truncation": True, "max_length": max_length, "return_tensors": "np"}
        batch, expected = ours(sample, **arguments), reference(sample, **arguments)
        assert batch.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name], value)
            assert batch[name].dtype == value.dtype


def test_a_model_that_names_no_length_is_not_truncated(ours):
    tokenizer = ClapTokenizer(ours.backend, {"model_max_length": int(1e30)})
    text = "a dog barks " * 200
    assert tokenizer(text, truncation=True) == tokenizer(text)


@pytest.mark.parametrize("side", ["left", "right"])
def test_sides_are_those_of_transformers(side, bare, texts):
    reference = transformers.RobertaTokenizerFast.from_pretrained(bare, padding_side=side, truncation_side=side)
    tokenizer = ClapTokenizer.from_pretrained(bare)
    tokenizer.padding_side = tokenizer.truncation_side = side
    arguments = {"padding": True, "truncation": True, "max_length": 12, "pad_to_multiple_of": 4}
    sample = texts[::100]
    assert tokenizer(sample, **arguments) == dict(reference(sample, **arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"return_tensors": "pt"},
        {"add_special_tokens": False},
        {"return_attention_mask": False},
        {"return_token_type_ids": True},
        {"padding": "max_length", "max_length": 12, "return_tensors": "pt"},
        {"truncation": "longest_first", "max_length": 4},
    ],
)
def test_one_text_comes_back_as_transformers_gives_it(arguments, reference, ours):
    batch, expected = ours("a dog barks outside", **arguments), reference("a dog barks outside", **arguments)
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        assert type(batch[name]) is type(value)
        np.testing.assert_array_equal(batch[name], value)


def test_decoding_is_that_of_transformers(texts, reference, ours):
    rows = ours(texts[::20])["input_ids"]
    for skip in (True, False):
        assert ours.batch_decode(rows, skip_special_tokens=skip) == reference.batch_decode(
            rows, skip_special_tokens=skip
        )
    assert ours.decode(torch.tensor(rows[0]), skip_special_tokens=True) == texts[0]
    assert ours.decode(np.array(rows[0])) == f"<s>{texts[0]}</s>"
    assert ours.decode(rows[0][1]) == reference.decode(rows[0][1])
    spaced = ours("hello , it 's here !")["input_ids"]
    assert ours.decode(spaced, True, clean_up_tokenization_spaces=True) == "hello, it's here!"


def test_saved_files_go_both_ways(ours, texts, saved, tmp_path):
    ours.save_pretrained(tmp_path)
    theirs = transformers.RobertaTokenizerFast.from_pretrained(tmp_path)
    sample = texts[::50]
    assert theirs(sample)["input_ids"] == ours(sample)["input_ids"]
    assert type(transformers.AutoTokenizer.from_pretrained(tmp_path)) is type(theirs)
    again = ClapTokenizer.from_pretrained(tmp_path)
    assert again(sample) == ours(sample)
    assert again.settings["tokenizer_class"] == "RobertaTokenizerFast"
    assert len(again) == len(ours) == len(theirs)


def test_another_model_works_too(tmp_path):
    """WordPiece with BERT's special tokens: normalised, with its own template and padding token."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=tokens, show_progress=False)
    backend.train_from_iterator([" ".join(WORDS)], trainer)
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_padding()  # a state that must not survive
    backend.save(str(tmp_path / "tokenizer.json"))
    ours = ClapTokenizer.from_pretrained(tmp_path)
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    sample = ["The Dogs bark", "", "einé Ünknown 日本", "door " * 30]
    arguments = {"padding": True, "truncation": True, "max_length": 12}
    batch = ours(sample, **arguments)
    assert batch["input_ids"] == reference(sample, **arguments)["input_ids"]
    assert batch["attention_mask"] == reference(sample, **arguments)["attention_mask"]
    assert ours.pad_token_id == 0
    ours.save_pretrained(tmp_path / "again")
    assert (
        transformers.AutoTokenizer.from_pretrained(tmp_path / "again")(sample)["input_ids"]
        == ours(sample).input_ids
    )


def test_model_max_length_comes_from_the_settings(saved, texts, tmp_path):
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 10}))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": {"content": "<pad>", "lstrip": False}})
    )
    ours = ClapTokenizer.from_pretrained(tmp_path)
    assert ours.model_max_length == 10
    assert max(map(len, ours(texts[:50], truncation=True).input_ids)) == 10
    assert {len(row) for row in ours(["a", ""], padding="max_length").input_ids} == {10}


def test_added_prefix_space_is_read_from_the_settings(bare, tmp_path):
    for path in bare.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"add_prefix_space": true}')
    expected = transformers.RobertaTokenizerFast.from_pretrained(bare, add_prefix_space=True)
    assert ClapTokenizer.from_pretrained(tmp_path)("dog bark").input_ids == expected("dog bark")["input_ids"]


def test_no_texts_make_an_empty_batch(ours):
    assert ours([], padding=True) == {"input_ids": [], "attention_mask": []}
    assert ours([], padding=True, return_tensors="pt").input_ids.dtype == torch.long


def test_threads_do_not_disturb_each_other(ours, texts):
    sample = texts[:400]
    lengths = [3, 5, 8, 13] * 4
    with ThreadPoolExecutor(4) as pool:
        batches = pool.map(
            lambda length: ours(sample, padding="max_length", truncation=True, max_length=length), lengths
        )
    for length, batch in zip(lengths, batches, strict=True):
        assert {len(row) for row in batch.input_ids} == {length}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t(["a", "a dog barks"], return_tensors="pt"), ValueError, "set padding=True"),
        (lambda t: t("a", padding="repeatpad"), ValueError, "padding must be one of .*'repeatpad'"),
        (lambda t: t("a", truncation="rand_trunc"), ValueError, "truncation must be one of .*'rand_trunc'"),
        (lambda t: t("a", return_tensors="tf"), ValueError, "return_tensors must be one of"),
        (lambda t: t("a", padding="max_length"), ValueError, "needs a max_length"),
        (lambda t: t("a", truncation=True, max_length=1), ValueError, "max_length 1 has no room"),
        (lambda t: t(["a", 3]), TypeError, r"texts must be strings, not 3 \(int\)"),
        (lambda t: t(None), TypeError, "NoneType"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message, ours):
    with pytest.raises(error, match=message):
        call(ours)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("tokenizer.json", "{}", "tokenizer.json: is not a tokenizer"),
        ("tokenizer.json", "<html>", "tokenizer.json: is not a tokenizer"),
        ("vocab.json", "[1]", "vocab.json: must hold a JSON object"),
        ("merges.txt", "#version: 0.2\nab cd ef\n", "merges.txt: must have two tokens in each line"),
        ("merges.txt", "zz@ @q\n", "merges.txt: does not fit vocab.json"),
        ("tokenizer_config.json", "{", "tokenizer_config.json: is not JSON"),
    ],
)
def test_spoilt_files_are_named(name, text, message, bare, tmp_path):
    for path in bare.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        ClapTokenizer.from_pretrained(tmp_path)


def test_missing_files_are_named(bare, tmp_path):
    with pytest.raises(CheckpointError, match=r"has no tokenizer.json or vocab.json"):
        ClapTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_bytes((bare / "vocab.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"has no merges.txt"):
        ClapTokenizer.from_pretrained(tmp_path)


def test_a_tokenizer_without_padding_token_says_so():
    tokenizer = ClapTokenizer(Tokenizer(models.BPE({"a": 0, "b": 1}, [])))
    assert tokenizer(["ab", "a"])["input_ids"] == [[0, 1], [0]]
    with pytest.raises(ValueError, match="no padding token"):
        tokenizer(["ab", "a"], padding=True)
