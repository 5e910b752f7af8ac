"""The scenes are what their truth says, and their figures are those computed by hand."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("scipy", reason="scipy is only needed to train: training/requirements.txt")

from support.training_data import tone, write_training_data

from training import scenes
from training.event_figures import compare, count_matches, render
from training.scene import ALONE, BACKGROUNDS, Background, Scene, SceneEvent
from training.scene_sounds import at_level, extend, trim
from training.scenes import RATE_HZ
from training.split import ENOUGH_GROUPS, is_held_out

ROOM, SPEECH = BACKGROUNDS[0], BACKGROUNDS[1]


def scene(*events: SceneEvent, background: Background = ROOM, seconds: float = 60.0) -> Scene:
    return Scene("scene", background, np.zeros(round(seconds * RATE_HZ), dtype=np.float32), events)


def test_scenes_are_minutes_that_are_the_same_each_time(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    first, again = (list(scenes.make_scenes(tmp_path, 4)) for _ in range(2))
    assert [made.background for made in first] == list(BACKGROUNDS)
    for made, remade in zip(first, again, strict=True):
        assert made.samples.shape == (60 * RATE_HZ,)
        assert made.events == remade.events
        assert len(made.events) == 3
        np.testing.assert_array_equal(made.samples, remade.samples)
        assert np.abs(made.samples).max() <= 1.0


def test_scenes_of_open_clips_use_only_held_out_ones(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    kept = next(str(number) for number in range(100) if is_held_out(str(number)))
    heard = [str(number) for number in range(100, 120) if not is_held_out(str(number))][:ENOUGH_GROUPS]
    with (tmp_path / "open.csv").open("a", encoding="utf-8", newline="") as stream:
        for label, groups in (("doorbell", [kept, *heard]), ("sneeze", [kept])):  # too few groups to hold one out
            csv.writer(stream).writerows([f"{label}-{group}.flac", label, label, 1.0, group] for group in groups)
    soundfile.write(tmp_path / "open" / f"doorbell-{kept}.flac", tone(0.5), RATE_HZ)
    (made,) = scenes.make_scenes(tmp_path, 1, "open")
    assert [event.label for event in made.events] == ["doorbell"]


def test_backgrounds_alone_have_no_events_and_levels_of_their_own(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    kinds = len(ALONE)
    made = list(scenes.make_backgrounds(tmp_path, kinds + 1))
    assert [minute.background for minute in made] == [*ALONE, ALONE[0]]
    assert not any(minute.events for minute in made)
    first, again = (np.sqrt(np.mean(made[index].samples ** 2)) for index in (0, kinds))
    assert first != pytest.approx(again, rel=0.01)


def test_backgrounds_to_calibrate_on_are_others_than_those_to_judge_by(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    judged = next(scenes.make_backgrounds(tmp_path, 1))
    fitted = list(scenes.make_backgrounds(tmp_path, len(BACKGROUNDS), first=1000, kinds=BACKGROUNDS))
    assert all(minute.background.folder == "open" for minute in fitted)
    assert fitted[0].background == judged.background
    assert not np.array_equal(fitted[0].samples, judged.samples)


def test_events_are_where_the_truth_says(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    made = next(scenes.make_scenes(tmp_path, 1))
    inside = np.zeros(len(made.samples), dtype=bool)
    for event in made.events:
        inside[round(event.start_seconds * RATE_HZ) : round(event.end_seconds * RATE_HZ)] = True
    loud = np.sqrt(np.mean(made.samples[inside] ** 2))
    quiet = np.sqrt(np.mean(made.samples[~inside] ** 2))
    assert 20 * np.log10(quiet) == pytest.approx(ROOM.rms_dbfs, abs=0.5)
    assert loud > 10 * quiet


def test_labels_and_clips_take_turns_and_never_match_their_background() -> None:
    clips = {label: [Path(f"{label}-{number}") for number in range(2)] for label in ("speech", "rain", "siren")}
    clips |= {label: [Path(label)] for label in ("drill", "sneeze")}
    plan = list(scenes.plan_scenes(clips, 40))
    labels = Counter(label for _, picked in plan for label, _ in picked)
    assert sum(labels.values()) == 120
    always_possible = [count for label, count in labels.items() if label != "speech"]
    assert max(always_possible) - min(always_possible) <= 1
    files = Counter(path for _, picked in plan for _, path in picked)
    assert abs(files[Path("rain-0")] - files[Path("rain-1")]) <= 1
    assert not any(label in kind.own_labels for kind, picked in plan for label, _ in picked)


def test_sounds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        scenes.place(tone(10.0), [("rain", tone(5.0))], np.random.default_rng(0))


def test_trim_keeps_the_sound_and_drops_the_silence() -> None:
    silence = np.zeros(RATE_HZ, dtype=np.float32)
    trimmed = trim(np.concatenate([silence, tone(0.5), silence]))
    assert len(trimmed) == pytest.approx(RATE_HZ // 2, abs=RATE_HZ // 25)


def test_extend_reaches_its_length_without_clicks() -> None:
    extended = extend(np.full(RATE_HZ, 0.3, dtype=np.float32), 3 * RATE_HZ)
    assert len(extended) == 3 * RATE_HZ
    np.testing.assert_allclose(extended, 0.3, rtol=1e-5)


def test_a_level_is_reached_unless_it_would_clip() -> None:
    assert np.sqrt(np.mean(at_level(tone(1.0), -20.0) ** 2)) == pytest.approx(0.1, rel=1e-3)
    click = np.zeros(RATE_HZ, dtype=np.float32)
    click[0] = 0.1
    assert np.abs(at_level(click, -20.0)).max() == pytest.approx(0.9)


class TestFigures:
    """Figures of lists small enough to check by hand."""

    def test_all_right(self) -> None:
        events = [SceneEvent("doorbell", 5.0, 7.0), SceneEvent("rain", 20.0, 35.0)]
        figures = compare([(scene(*events), events)])
        assert figures.f1 == figures.onset_f1 == 1.0
        assert figures.false_events == {"room tone": []}

    def test_a_late_end_counts_for_the_start_alone(self) -> None:
        truth = scene(SceneEvent("rain", 20.0, 30.0))
        figures = compare([(truth, [SceneEvent("rain", 22.0, 34.0)])])
        assert figures.onset_f1 == 1.0
        assert figures.f1 == 0.0
        assert figures.false_events == {"room tone": []}

    def test_a_miss_and_a_false_event(self) -> None:
        truth = scene(SceneEvent("doorbell", 5.0, 7.0), SceneEvent("sneeze", 20.0, 21.0))
        reported = [SceneEvent("doorbell", 5.5, 7.5), SceneEvent("cough", 40.0, 41.0)]
        figures = compare([(truth, reported)])
        assert figures.onset_f1 == pytest.approx(0.5)  # one of two found, one of two right
        assert figures.labels["doorbell"].f1 == 1.0
        assert figures.labels["sneeze"].f1 == 0.0
        assert figures.false_events == {"room tone": ["cough"]}
        assert figures.hours["room tone"] == pytest.approx(1 / 60)
        assert "60.0  cough 1" in render(figures)

    def test_what_the_background_or_a_companion_explains_counts_neither_way(self) -> None:
        truth = scene(SceneEvent("thunder", 10.0, 18.0), background=SPEECH)
        reported = [
            SceneEvent("thunder", 10.0, 18.0),
            SceneEvent("rain", 11.0, 18.0),  # a storm
            SceneEvent("speech", 30.0, 50.0),  # the background
        ]
        figures = compare([(truth, reported)])
        assert figures.f1 == 1.0
        assert figures.false_events == {"speech": []}

    def test_a_companion_at_another_time_is_false(self) -> None:
        truth = scene(SceneEvent("thunder", 10.0, 18.0))
        figures = compare([(truth, [SceneEvent("rain", 40.0, 50.0)])])
        assert figures.false_events == {"room tone": ["rain"]}

    def test_nothing_heard_of_what_was_there(self) -> None:
        figures = compare([(scene(SceneEvent("thunder", 10.0, 18.0)), [])])
        assert figures.f1 == figures.onset_f1 == 0.0
        assert figures.labels["thunder"].events == 1

    def test_nothing_heard_and_nothing_there(self) -> None:
        figures = compare([(scene(), [])])
        assert figures.f1 == 0.0
        assert figures.hours == {"room tone": pytest.approx(1 / 60)}


# Made with sed_eval 0.2.1: EventBasedMetrics with t_collar=2.5, percentage_of_length=0.0 and, for the second
# figure, evaluate_offset=True, on events drawn at random; 1,500 such cases gave the same figures as ours. Per case:
# true events, reported events, F1 of starts, F1 of starts and ends, and for each label how many events are true,
# reported and found (by their starts).
RECORDED = [
    (
        "sneeze 5 19; siren 5.25 17.25; drill 5.75 19.5; drill 19.75 28.75; siren 21.75 30; siren 28.25 35.5; "
        "drill 39 52",
        "sneeze 11 13.25; sneeze 13.75 17.5; siren 14.75 22.5; drill 17.5 32.25; sneeze 21.75 36.25; "
        "drill 26.75 34.5; sneeze 37.5 50",
        (0.1429, 0.0),
        {"drill": (3, 2, 1), "siren": (3, 1, 0), "sneeze": (1, 4, 0)},
    ),
    (
        "siren 4.5 17.75; siren 7.75 16.5; sneeze 12.5 24.25; drill 13.75 17.25; siren 24.5 39; siren 37.75 40.75; "
        "sneeze 38 48",
        "drill 0 8; sneeze 7.5 17.5; siren 8.5 16.75; drill 10.25 16.5; drill 11.75 24.25; siren 18.5 29.25; "
        "sneeze 18.5 32.25",
        (0.2857, 0.1429),
        {"drill": (1, 3, 1), "siren": (4, 2, 1), "sneeze": (2, 2, 0)},
    ),
    (
        "sneeze 2.75 4.25; sneeze 6 15.75; sneeze 13.75 18.75; siren 14.25 24.75; siren 25.5 33.75; "
        "sneeze 28.5 35.5; drill 31.75 44.75",
        "drill 0 10.75; sneeze 9 18.75; drill 11.75 18.75; sneeze 29.25 35.25; sneeze 29.75 30.75; "
        "drill 33.25 35.75; sneeze 34.25 46",
        (0.2857, 0.1429),
        {"drill": (1, 3, 1), "siren": (2, 0, 0), "sneeze": (4, 4, 1)},
    ),
    (
        "siren 8 14.75; sneeze 10.5 13.75; sneeze 13.75 20.5; sneeze 22.75 25; siren 32.5 37.75; sneeze 37 47.5; "
        "sneeze 39 46",
        "drill 5.5 13.25; drill 8.75 18.75; drill 15.5 19; siren 31.25 43.75; sneeze 37.25 42.25; sneeze 37.5 38; "
        "sneeze 37.75 42.75",
        (0.4286, 0.0),
        {"drill": (0, 3, 0), "siren": (2, 1, 1), "sneeze": (5, 3, 2)},
    ),
]


def events(text: str) -> list[SceneEvent]:
    rows = (part.split() for part in text.split("; "))
    return [SceneEvent(label, float(start), float(end)) for label, start, end in rows]


@pytest.mark.parametrize(("true", "reported", "f1", "labels"), RECORDED)
def test_figures_are_those_of_sed_eval(
    true: str, reported: str, f1: tuple[float, float], labels: dict[str, tuple[int, int, int]]
) -> None:
    figures = compare([(scene(*events(true)), events(reported))])
    assert (figures.onset_f1, figures.f1) == pytest.approx(f1, abs=5e-5)
    assert {name: (row.events, row.reported, row.found) for name, row in figures.labels.items()} == labels


def test_as_many_events_as_possible_are_matched() -> None:
    true, reported = events("rain 2 9; rain 0 9"), events("rain 2 9; rain 4 9")
    assert count_matches(true, reported, ends=False) == 2  # taking the first match each time would give 1
    assert count_matches(true, [], ends=False) == count_matches([], reported, ends=True) == 0
