"""What may be given as audio, what is refused by name, and what is warned of."""

import array
import collections
import decimal
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from clapstream.clap import ClapFeatureExtractor, ClapProcessor

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")

SETTINGS = {"max_length_s": 1, "frequency_min": 50, "truncation": "rand_trunc"}
SOUND = np.random.default_rng(0).standard_normal(24_000) * 0.1


class ArrayLike:
    """What NumPy can read without being an array: a column of a table, say."""

    def __array__(self, dtype=None, copy=None):
        return SOUND


def extract(sound, **arguments):
    return ClapFeatureExtractor(**SETTINGS)(sound, **{"sampling_rate": 48_000, "return_tensors": "pt", **arguments})


@pytest.mark.parametrize(
    "sound",
    [
        SOUND.astype(">f8"),
        SOUND[::-1][::-1],
        np.stack([SOUND, SOUND], axis=1)[:, 0],
        np.frombuffer(SOUND.tobytes()),
        SOUND.astype(np.longdouble),
        torch.from_numpy(SOUND).requires_grad_(),
        SOUND[None],
        [SOUND],
        (SOUND,),
        collections.deque([SOUND]),
        array.array("d", SOUND.tolist()),
        SOUND.tolist(),
        list(torch.from_numpy(SOUND)),
        ArrayLike(),
        [ArrayLike()],
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("form", ["pt", "np"])
def test_every_form_is_the_same_sound(sound, form):
    found = extract(sound, return_tensors=form)["input_features"]
    np.testing.assert_array_equal(np.asarray(torch.as_tensor(found).detach()), extract(SOUND)["input_features"])


def test_generators_are_read():
    batch = extract(sound for sound in (SOUND, SOUND[:5000]))
    assert torch.equal(batch["input_features"], extract([SOUND, SOUND[:5000]])["input_features"])
    assert torch.equal(extract(iter(SOUND.tolist()))["input_features"], extract(SOUND)["input_features"])


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", "<f2", np.float16])
def test_byte_order_and_precision_as_in_transformers(dtype):
    sound = np.round(SOUND).astype(dtype) if dtype == ">i2" else SOUND.astype(dtype)
    reference = transformers.ClapFeatureExtractor(**SETTINGS)(sound, sampling_rate=48_000, return_tensors="pt")
    torch.testing.assert_close(
        extract(sound)["input_features"], reference["input_features"].float(), rtol=0, atol=2e-5
    )


STEREO = np.stack([SOUND, SOUND], axis=1)


@pytest.mark.parametrize(
    "sound",
    [
        STEREO,
        torch.from_numpy(STEREO),
        STEREO.tolist(),
        list(STEREO),
        STEREO[:, :1],
        np.repeat(STEREO, 3, axis=1),
        STEREO.astype(np.float32),
        STEREO[:400],
    ],
    ids=["array", "tensor", "lists", "rows", "one channel", "six channels", "float32", "short"],
)
def test_channels_are_not_taken_for_sounds(sound):
    with pytest.raises(ValueError, match=r"audio \(raw_speech\).*mono.*audio\.mean\(axis=1\)"):
        extract(sound)


def test_a_stereo_file_is_refused_and_its_mix_is_heard(tmp_path):
    soundfile.write(tmp_path / "stereo.wav", STEREO, 48_000, subtype="DOUBLE")
    audio, rate = soundfile.read(tmp_path / "stereo.wav")
    processor = ClapProcessor.from_pretrained("bundled")
    with pytest.raises(ValueError, match="mix"):
        processor(audio=audio, sampling_rate=rate)
    mixed = processor(audio=audio.mean(axis=1), sampling_rate=rate, return_tensors="pt")
    mono = processor(audio=SOUND, sampling_rate=rate, return_tensors="pt")
    torch.testing.assert_close(mixed["input_features"], mono["input_features"])


def test_short_rows_say_how_to_mix_and_how_to_give_them():
    with pytest.raises(ValueError, match=r"audio\.mean\(axis=0\), or give a list"):
        extract(STEREO.T[:, :400])
    assert len(extract(list(STEREO.T[:, :400]))["input_features"]) == 2


@pytest.mark.parametrize(("sound", "axis"), [([STEREO], 1), ([STEREO.T], 0), ([SOUND, STEREO], 1)])
def test_a_list_of_stereo_sounds_says_how_to_mix(sound, axis):
    with pytest.raises(ValueError, match=rf"mono.*audio\.mean\(axis={axis}\)"):
        extract(sound)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_two_rows_may_be_stereo_and_are_warned_of(convert):
    with pytest.warns(UserWarning, match=r"\(2, 24000\) is read as a batch of two sounds; if it is stereo"):
        batch = extract(convert(np.stack([SOUND, SOUND / 2])))
    assert torch.equal(batch["input_features"], extract([SOUND, SOUND / 2])["input_features"])


@pytest.mark.parametrize("shape", [(1, 24_000), (3, 800), (3, 24_000), (7, 48_000)])
def test_batches_of_equal_length_are_taken_as_in_transformers(shape):
    batch = np.random.default_rng(1).standard_normal(shape) * 0.1
    reference = transformers.ClapFeatureExtractor(**SETTINGS)(batch, sampling_rate=48_000, return_tensors="pt")
    for form in (batch, torch.from_numpy(batch), batch.tolist(), list(batch)):
        torch.testing.assert_close(
            extract(form)["input_features"], reference["input_features"].float(), rtol=0, atol=2e-5
        )


@pytest.mark.parametrize(
    ("sound", "error", "message"),
    [
        ({"array": SOUND, "sampling_rate": 48_000}, TypeError, r"not dict; give its array.*audio\['array'\]"),
        ([{"array": SOUND}], TypeError, "not dict"),
        ("dog.wav", TypeError, r"not str; read the file first.*soundfile\.read"),
        (Path("dog.wav"), TypeError, "read the file first"),
        (b"RIFF", TypeError, "not bytes"),
        ([SOUND, "dog.wav"], TypeError, "not str"),
        (None, TypeError, "not NoneType"),
        ([SOUND, None], TypeError, "not NoneType"),
        ({0.5, 0.25}, TypeError, "not set"),
        (object(), TypeError, "not object"),
        (3.0, ValueError, r"mono and not empty, \(samples,\), not \(\)"),
        ([], ValueError, "not empty"),
        ([[]], ValueError, "not empty"),
        ([SOUND, []], ValueError, "not empty"),
        ((), ValueError, "not empty"),
        (iter(()), ValueError, "not empty"),
        (np.zeros((0, 100)), ValueError, r"not empty.*\(0, 100\)"),
        (np.zeros((5, 0)), ValueError, r"not empty.*\(5, 0\)"),
        (torch.zeros(0), ValueError, "not empty"),
        (SOUND[None, None], ValueError, r"mono.*\(1, 1, 24000\)"),
        (SOUND.astype(complex), ValueError, "real samples, not complex128"),
        (torch.zeros(10, dtype=torch.complex64), ValueError, "real samples, not complex64"),
        ([1j, 2j], ValueError, "not complex128"),
        (SOUND > 0, ValueError, "real samples, not bool"),
        ([True, False], ValueError, "not bool"),
        (np.array([SOUND, SOUND[:5]], dtype=object), ValueError, "not object; give a list for several sounds"),
        ([decimal.Decimal(1)], TypeError, "not Decimal"),
        (np.array(["a"]), ValueError, "not <U1"),
        (np.zeros(5, "M8[s]"), ValueError, "not datetime64"),
        ([[0.1, [0.2]]], ValueError, "mono, a list of numbers"),
        ([0.1, SOUND], ValueError, "mono, a list of numbers"),
    ],
)
def test_what_is_no_audio_is_refused_by_name(sound, error, message):
    with pytest.raises(error, match=rf"(?s)audio \(raw_speech\).*{message}"):
        extract(sound)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_length": 0}, ValueError, "max_length must be at least 1, not 0"),
        ({"max_length": -48_000}, ValueError, "max_length must be at least 1"),
        ({"max_length": 48_000.0}, TypeError, "max_length must be a whole number"),
        ({"sampling_rate": "48000"}, TypeError, "sampling_rate must be a number"),
        ({"sampling_rate": 44_100}, ValueError, "sampling_rate is 44100 Hz"),
        ({"sampling_rate": 0}, ValueError, "sampling_rate is 0 Hz"),
        ({"padding": "longest"}, ValueError, "padding must be one of"),
        ({"padding": ["pad"]}, ValueError, "padding must be one of"),
        ({"truncation": True}, ValueError, "truncation must be one of"),
        ({"return_tensors": "jax"}, ValueError, "return_tensors must be one of"),
        ({"generator": 5}, TypeError, "generator must be one of numpy.random"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_arguments_are_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        extract(SOUND, **arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"hop_length": 0}, ValueError, "hop_length must be at least 1, not 0"),
        ({"hop_length": -480}, ValueError, "hop_length"),
        ({"hop_length": 480.0}, TypeError, "hop_length must be a whole number"),
        ({"fft_window_size": 0}, ValueError, "fft_window_size"),
        ({"fft_window_size": -1024}, ValueError, "fft_window_size"),
        ({"feature_size": 0}, ValueError, "feature_size"),
        ({"sampling_rate": 0}, ValueError, "sampling_rate"),
        ({"sampling_rate": "48000"}, TypeError, "sampling_rate"),
        ({"max_length_s": 0}, ValueError, "max_length_s"),
        ({"max_length_s": -10}, ValueError, "max_length_s"),
        ({"max_length_s": float("nan")}, ValueError, "max_length_s"),
        ({"max_length_s": None}, TypeError, "max_length_s"),
        ({"frequency_min": -1}, ValueError, "frequency_min"),
        ({"frequency_min": 14_000}, ValueError, "frequency_min 14000 must be below frequency_max 14000"),
        ({"frequency_max": 0}, ValueError, "frequency_max"),
    ],
)
def test_settings_are_refused_by_name(settings, error, message):
    with pytest.raises(error, match=message):
        ClapFeatureExtractor(**settings)


PCM = np.round(SOUND * 32_768)


@pytest.mark.parametrize(
    "sound",
    [
        PCM.astype(np.int16),
        torch.from_numpy(PCM).short(),
        PCM.astype(">i2"),
        PCM.astype(np.int32) * 65_536,
        PCM.astype(np.float32),
        PCM.tolist(),
        [SOUND, PCM],
        (PCM[:5000] / 256 + 128).astype(np.uint8),
    ],
    ids=["int16", "tensor", "big-endian", "int32", "float32", "list", "one of two", "uint8"],
)
def test_pcm_that_is_not_scaled_is_warned_of(sound):
    with pytest.warns(UserWarning, match=r"full scale is 1\.0; divide 16-bit PCM by 32768") as caught:
        extract(sound)
    assert len(caught) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_warned_of(value):
    sound = SOUND.copy()
    sound[1000] = value
    with pytest.warns(UserWarning, match="NaN or infinite"):
        extract(sound)


def test_a_missing_rate_is_warned_of_at_the_callers_line():
    processor = ClapProcessor(ClapFeatureExtractor(**SETTINGS), None)
    for call in (
        lambda: ClapFeatureExtractor(**SETTINGS)(SOUND),
        lambda: processor(audio=SOUND),
    ):
        with pytest.warns(UserWarning, match="no sampling_rate was given") as caught:
            call()
        assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


def test_sound_as_it_should_be_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extract(np.random.default_rng(0).standard_normal(480_000))
        extract([SOUND, np.zeros(100), np.zeros(100, np.int16), -np.ones(1000)])


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="memory is limited as Linux does it")
def test_stereo_is_refused_before_it_takes_memory():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stereo = np.zeros((480_000, 2), np.float32)
    with pytest.raises(ValueError, match="480000 sounds of 2 samples"):
        extract(stereo)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
