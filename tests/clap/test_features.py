"""The feature extractor against transformers, sound by sound."""

import functools
import warnings

import numpy as np
import pytest
import torch

from clapstream.clap.batch import BatchFeature
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

DB_TOLERANCE = 2e-5  # float32 at -100 dB steps by 8e-6

# With the default of 1024 bins some of the lowest filters have none between their edges.
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")

SETTINGS = {"max_length_s": 1, "frequency_min": 50}
LENGTHS = {
    "tiny": 700,
    "short": 13_001,
    "half": 24_000,
    "exact": 48_000,
    "barely": 48_300,
    "long": 58_000,
    "longer": 170_123,
}


def sounds() -> dict[str, np.ndarray]:
    """Sounds over the whole range of levels, from clipping noise to digital silence."""
    random = np.random.default_rng(3)
    seconds = np.arange(170_123) / 48_000
    signals = [
        random.standard_normal(170_123) * 0.1,
        0.8 * np.sin(2 * np.pi * 440 * seconds),
        random.standard_normal(170_123) * 1e-5,
        np.where(seconds < 0.2, 0.0, random.standard_normal(170_123)),
        np.sign(np.sin(2 * np.pi * 3000 * seconds)) * np.exp(-3 * seconds),
        np.zeros(170_123),
        0.3 * np.sin(2 * np.pi * (200 + 3000 * seconds) * seconds),
    ]
    return {
        name: signal[:length].astype(np.float32)
        for (name, length), signal in zip(LENGTHS.items(), signals, strict=True)
    }


def both(raw_speech, settings, seed=0, **arguments):
    """The same call to transformers and to ours, with the same draws."""
    np.random.seed(seed)
    reference = transformers.ClapFeatureExtractor(**settings)(
        raw_speech, sampling_rate=48_000, return_tensors="pt", **arguments
    )
    ours = ClapFeatureExtractor(**settings)(
        raw_speech,
        sampling_rate=48_000,
        return_tensors="pt",
        generator=np.random.RandomState(seed),
        **arguments,
    )
    return reference, ours


def at_48_khz(extractor):
    """Calls of an extractor that say what rate its sounds have."""
    return functools.partial(extractor, sampling_rate=48_000)


def assert_same(reference, ours):
    torch.testing.assert_close(
        ours["input_features"], reference["input_features"].float(), rtol=0, atol=DB_TOLERANCE
    )
    assert ours["is_longer"].tolist() == reference["is_longer"].tolist()


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_a_batch_of_all_lengths(truncation, padding):
    assert_same(*both(list(sounds().values()), {**SETTINGS, "truncation": truncation, "padding": padding}))


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_one_sound(name, truncation):
    assert_same(*both(sounds()[name], {**SETTINGS, "truncation": truncation}, seed=5))


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_ten_seconds_with_default_settings(truncation):
    sound = np.random.default_rng(0).standard_normal(480_000) * 0.05
    reference, ours = both(sound, {}, truncation=truncation)
    assert_same(reference, ours)
    assert ours.input_features.shape == (1, 4 if truncation == "fusion" else 1, 1001, 64)
    repeated = ClapFeatureExtractor(truncation=truncation)(sound, return_tensors="pt", sampling_rate=48_000)
    assert torch.equal(repeated.input_features, ours.input_features)


def test_arguments_of_the_call_win_over_the_settings():
    batch = [sounds()["short"], sounds()["longer"]]
    assert_same(*both(batch, SETTINGS, truncation="rand_trunc", padding="pad", max_length=30_000))


@pytest.mark.parametrize(
    "settings",
    [
        {"feature_size": 64, "hop_length": 320, "fft_window_size": 512, "sampling_rate": 48_000},
        {"frequency_min": 0, "frequency_max": 24_000, "fft_window_size": 2048},
    ],
)
@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_other_spectrograms(settings, truncation):
    assert_same(
        *both([sounds()["short"], sounds()["longer"]], {**settings, "max_length_s": 1}, truncation=truncation)
    )


def test_other_numbers_of_mel_bins():
    settings = {**SETTINGS, "feature_size": 40, "truncation": "rand_trunc"}
    assert_same(*both([sounds()["short"], sounds()["longer"]], settings))


def test_all_the_forms_a_sound_may_have():
    sound = sounds()["half"]
    extract = at_48_khz(ClapFeatureExtractor(**SETTINGS, truncation="rand_trunc"))
    expected = extract(sound, return_tensors="pt").input_features
    read_only = sound.copy()
    read_only.flags.writeable = False
    for form in (sound.tolist(), [sound], sound[None], torch.from_numpy(sound), [sound.tolist()], read_only):
        assert torch.equal(extract(form, return_tensors="pt").input_features, expected)
    tripled = extract(torch.from_numpy(sound).expand(3, -1), return_tensors="pt").input_features
    assert torch.equal(tripled, expected.expand(3, -1, -1, -1))


def test_a_batch_of_several_precisions():
    tone = np.sin(np.arange(48_000) / 9.0)
    batch = [tone, tone.astype(np.float32), np.round(tone * 100).astype(np.int16)]
    with pytest.warns(UserWarning, match="int16 samples from -100 to 100"):
        reference, ours = both(batch, {**SETTINGS, "truncation": "rand_trunc"})
    assert_same(reference, ours)


def test_return_forms():
    extract = at_48_khz(ClapFeatureExtractor(**SETTINGS))
    batch = [sounds()["short"], sounds()["longer"]]
    as_lists, as_arrays, as_tensors = (extract(batch, return_tensors=form, seed=1) for form in (None, "np", "pt"))
    assert isinstance(as_lists["input_features"], list)
    assert as_lists["is_longer"] == [[False], [True]]
    assert as_arrays.input_features.dtype == np.float32
    assert as_arrays.is_longer.tolist() == as_tensors.is_longer.tolist() == [[False], [True]]
    np.testing.assert_array_equal(np.stack(as_lists["input_features"]), as_arrays.input_features)
    np.testing.assert_array_equal(as_tensors.input_features.numpy(), as_arrays.input_features)
    with pytest.raises(ValueError, match="return_tensors must be one of None, 'np', 'pt', not 'tf'"):
        extract(batch, return_tensors="tf")


def test_a_seed_repeats_the_crops_and_another_changes_them():
    extract = at_48_khz(ClapFeatureExtractor(**SETTINGS, truncation="rand_trunc"))
    first, again, other = (
        extract(sounds()["longer"], return_tensors="pt", seed=seed).input_features for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="either a generator or a seed"):
        extract(sounds()["longer"], seed=1, generator=np.random.default_rng(1))


@pytest.mark.parametrize(
    ("sound", "arguments", "message"),
    [
        (np.zeros(100), {"sampling_rate": 44_100}, "44100 Hz, the model was trained at 48000 Hz"),
        (np.zeros((1, 2, 100)), {}, r"mono.*\(1, 2, 100\)"),
        ([np.zeros((2, 100))], {}, r"mono.*\(2, 100\)"),
        (np.zeros(0), {}, "not empty"),
        ([], {}, "not empty"),
        (np.zeros(100), {"truncation": "middle"}, "truncation must be one of 'fusion', 'rand_trunc', not 'middle'"),
        (np.zeros(100), {"padding": "left"}, "padding must be one of"),
        (np.zeros(100), {"max_length": 300}, "300 samples is too short, at least 513"),
    ],
)
def test_refusals(sound, arguments, message):
    with pytest.raises(ValueError, match=message):
        ClapFeatureExtractor(**SETTINGS)(sound, **arguments)


def test_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="padding must be one of 'repeatpad', 'repeat', 'pad', not 'mirror'"):
        ClapFeatureExtractor(padding="mirror")


def test_the_dictionary_is_that_of_transformers():
    assert ClapFeatureExtractor().to_dict() == transformers.ClapFeatureExtractor().to_dict()


def test_files_are_exchanged_with_transformers(tmp_path):
    settings = {**SETTINGS, "truncation": "rand_trunc", "padding": "pad", "chunk_length_s": 10}
    ClapFeatureExtractor(**settings).save_pretrained(tmp_path / "ours")
    theirs = transformers.ClapFeatureExtractor.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    ClapFeatureExtractor(**settings).to_json_file(tmp_path / "settings.json")
    assert ClapFeatureExtractor.from_json_file(tmp_path / "settings.json").to_dict() == theirs.to_dict()
    again = ClapFeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert again.to_dict() == ClapFeatureExtractor(**settings).to_dict()


def test_a_file_with_a_wrong_value_is_named(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text('{"truncation": "none"}')
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json: truncation must be one of"):
        ClapFeatureExtractor.from_pretrained(tmp_path)


def test_log_mel_of_new_frames_equals_that_of_the_whole_sound():
    """What a daemon relies on when it computes only the frames that a hop brought."""
    extract = ClapFeatureExtractor(truncation="rand_trunc")
    sound = torch.from_numpy(sounds()["longer"])[None]
    whole = extract.log_mel(sound)
    first = 100
    part = extract.log_mel(sound[:, first * 480 - 512 : first * 480 + 512 + 9 * 480], centered=False)
    # Not bit for bit: a matrix product rounds by its rows and threads (a float32 step at -100 dB is 8e-6).
    torch.testing.assert_close(part, whole[:, first : first + 10], rtol=0, atol=2e-5)


def test_batch_feature_moves_only_tensors():
    batch = BatchFeature(input_features=torch.zeros(1), is_longer=torch.tensor([True]), names=["a"])
    moved = batch.to("cpu", torch.bfloat16)
    assert (moved.input_features.dtype, moved.is_longer.dtype, moved.names) == (torch.bfloat16, torch.bool, ["a"])
    with pytest.raises(AttributeError):
        _ = batch.missing
