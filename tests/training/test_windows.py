# ruff: noqa: E402 - the imports come after the question whether their packages are there
"""What the composer and the calibration promise, on sound made up here."""

from __future__ import annotations

import numpy as np
import pytest

for package in ("inflect", "onnx", "onnxruntime", "scipy", "soxr", "transformers"):
    pytest.importorskip(package, reason=f"{package} is only needed to train: training/requirements.txt")

from clapstream.config import LabelSet, LabelSettings
from clapstream.detection.scorer import PlattScaling, Scorer
from training import morphs
from training.effects import colour, level_db, speed, tilted_noise, to_level
from training.evaluate import teacher_figures
from training.platt_scaling import START, fit
from training.procedural import MAKERS
from training.scene import Background, Scene
from training.scene_listener import HeardScene
from training.tune_thresholds import HIGHEST_START, tune_thresholds
from training.window import MOST_EVENTS, Window, place, repeat_events


def test_an_excerpt_is_repeated_whole_and_then_silent() -> None:
    excerpt = np.ones(48_000 * 4, np.float32)
    padded = Window(excerpt).padded()
    assert len(padded) == 480_000
    assert padded[: 48_000 * 8].all() and not padded[48_000 * 8 :].any()


def test_events_of_a_repeated_excerpt_last_as_long_as_it_does() -> None:
    assert repeat_events([("dog", 1.0, 2.0, -20.0)], 3.0) == [("dog", 0.0, 9.0, -20.0)]
    assert repeat_events([("dog", 1.0, 2.0, -20.0)], 6.0) == [("dog", 1.0, 2.0, -20.0)]
    many = [(str(number), 0.0, 1.0, -float(number)) for number in range(9)]
    assert [event[0] for event in repeat_events(many, 10.0)] == [str(number) for number in range(MOST_EVENTS)]


def test_a_sound_is_placed_where_it_says() -> None:
    mixture = np.zeros(1000, np.float32)
    first, last = place(mixture, np.ones(100, np.float32), np.random.default_rng(3))
    assert mixture[first:last].all() and mixture.sum() == 100


def test_effects_change_what_they_name() -> None:
    random = np.random.default_rng(4)
    noise = tilted_noise(48_000, random, -3)
    assert level_db(to_level(noise, -23.0)) == pytest.approx(-23.0, abs=0.1)
    assert len(speed(noise, 2.0)) == pytest.approx(24_000, abs=2)
    assert len(colour(noise, random, spread_db=3, room=True, narrow=True)) > 48_000


RMS_AND_PEAK = {
    "engine": (1.05547, 24.722),
    "impact_tool": (1.37621, 26.9246),
    "motor_whine": (0.397578, 3.2253),
    "air_mover": (1.18762, 13.7985),
    "siren": (0.941677, 2.75096),
    "horn": (0.877041, 2.39548),
    "bell": (0.013009, 0.277013),
    "beeps": (0.868448, 1.41421),
    "smoke_alarm": (0.999466, 1.49581),
    "old_telephone": (0.00119196, 0.00549763),
    "knocks": (2.24264, 74.5835),
    "clicks": (1.00062, 49.9985),
    "shots": (0.403978, 2.01926),
    "bubbles": (1.22252, 9.84484),
    "weather": (1.41232, 6.32249),
    "drops": (1.21956, 38.7457),
    "throat": (0.278003, 0.867535),
    "chirps": (0.538788, 1.90927),
    "rotor": (0.999069, 9.56266),
    "shatter": (3.61909, 59.2761),
    "tune": (1.22233, 6.13975),
}
"""Of two seconds of each procedural sound from seed 5, taken before the makers were sorted into modules."""


def test_every_maker_has_recorded_figures() -> None:
    assert RMS_AND_PEAK.keys() == MAKERS.keys()


@pytest.mark.parametrize("maker", MAKERS)
def test_every_maker_makes_the_same_sound_from_the_same_seed(maker: str) -> None:
    sound = np.asarray(MAKERS[maker][0](2.0, np.random.default_rng(5)), np.float64)
    assert len(sound) == 96_000
    figures = np.sqrt(np.mean(sound**2)), np.abs(sound).max()
    assert figures == pytest.approx(RMS_AND_PEAK[maker], rel=1e-3)  # processors round transforms differently


@pytest.mark.parametrize("count", [1, 700, 480_000])
def test_a_morph_of_any_two_sounds_is_finite_and_new(count: int) -> None:
    random = np.random.default_rng(7)
    samples, other = (tilted_noise(size, random, -3) * 0.1 for size in (max(count, 2), 30_000))
    for _ in range(12):
        made = morphs.morph(samples[:count], other, random)
        assert len(made) >= morphs.SHORTEST_SAMPLES // 2 and made.dtype == np.float32
        assert np.isfinite(made).all() and np.abs(made).max() <= 1.0
        assert len(made) != count or not np.allclose(made, samples[:count])


def test_an_imprint_has_the_envelope_of_the_other_sound() -> None:
    random = np.random.default_rng(8)
    steady = tilted_noise(96_000, random, 0) * np.float32(0.1)
    half = steady * (np.arange(96_000) < 48_000)
    made = morphs.imprint(steady, half)
    assert level_db(made[:40_000]) > level_db(made[56_000:]) + 30


def test_calibration_puts_the_start_threshold_between_the_two() -> None:
    random = np.random.default_rng(6)
    truth = (random.random((400, 5)) < 0.2).astype(float)
    evidence = np.where(truth == 1, random.normal(3, 1, truth.shape), random.normal(-3, 1, truth.shape))
    truth[0, 0] = np.nan
    found = fit(evidence, truth)
    scores = 1 / (1 + np.exp(-(found.slope * evidence + found.offset)))
    assert (scores[truth == 1] >= START).mean() > 0.95
    assert (scores[truth == 0] < START).mean() > 0.99


def embedding(evidence: tuple[float, float], scale: float) -> np.ndarray:
    """A unit vector whose cosines with two labels exceed that with the background by `evidence / scale`."""
    first, second = (value / scale for value in evidence)
    total, squares = first + second, first**2 + second**2
    background = (-total + np.sqrt(total**2 - 3 * (squares - 1))) / 3
    return np.array([background + first, background + second, background], np.float32)


def test_thresholds_are_raised_for_the_label_with_false_events_and_only_then_for_all() -> None:
    names = ("thunder", "doorbell")
    labels = LabelSet(labels=tuple(LabelSettings(name=name) for name in names), background=("a quiet room",))
    background = Background("howling wind", "wind", "", -38.0)
    spans = [(index * 120_000, index * 120_000 + 480_000) for index in range(4)]
    axes = np.eye(3, dtype=np.float32)

    def make_scorer(scaling: PlattScaling) -> Scorer:
        return Scorer([axes[:1], axes[1:2]], axes[2:], 20.0, scaling)

    def minutes(thunder: float, doorbell: float) -> list[tuple[Scene, HeardScene]]:
        heard = HeardScene(spans, np.stack([embedding((thunder, doorbell), 20.0)] * 4))
        return [(Scene("wind", background, np.zeros(0, np.float32), ()), heard)] * 3

    fitted = PlattScaling(slope=1.0, offset=0.0)
    starts, found = tune_thresholds(labels, minutes(1.0, -3.0), fitted, make_scorer, most=0)
    assert found == fitted
    assert [label.start for label in starts.labels] == [0.75, 0.6]  # 1 / (1 + exp(-1)) is 0.73
    starts, found = tune_thresholds(labels, minutes(2.5, -3.0), fitted, make_scorer, most=0)
    assert [label.start for label in starts.labels] == [HIGHEST_START, 0.6]
    assert 1 / (1 + np.exp(-(2.5 + found.offset))) < HIGHEST_START
    assert tune_thresholds(labels, minutes(2.5, -3.0), fitted, make_scorer, most=3) == (labels, fitted)


def test_the_teachers_figures_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], np.float32)
    assert teacher_figures(scores, np.array([0, 1, 1])) == "top-1 0.667 balanced 0.750 mAP 1.000"
