"""One-minute scenes with known events: validation clips over a background, to measure detection with.

    python -m training.scenes --checkpoint bundled   # the figures, and those of an hour of backgrounds alone
    python -m training.scenes --events-from open     # scenes of the clips of open/ that training never heard
    python -m training.scenes --write FOLDER         # the scenes themselves, to listen to

Every scene is a pure function of its index, so the figures of two checkpoints compare.
"""

from __future__ import annotations

import argparse
import csv
import functools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.paths import DATA, RATE_HZ
from training.scene_sounds import at_level, extend, join, trim
from training.split import spared

Floats = NDArray[np.float32]

SCENES = 30
SCENE_SECONDS = 60
EVENTS_PER_SCENE = 3
SEED = 20
SHORTEST_PAUSE_SECONDS = 3.0
EVENT_DBFS = (-30.0, -18.0)

LABELS = {
    "bird_chirping": "birds",
    "car_horn": "car horn",
    "cat_meowing": "cat meowing",
    "conversation_crowd": "speech",
    "crying_baby": "baby crying",
    "dog_barking": "dog barking",
    "door_knock": "knock on the door",
    "door_slam": "door slam",
    "doorbell": "doorbell",
    "drill": "drill",
    "explosion": "gunshot or explosion",
    "footsteps": "footsteps",
    "glass_breaking": "glass breaking",
    "gunshot": "gunshot or explosion",
    "hair_dryer": "hair dryer",
    "laughter": "laughter",
    "phone_ringing": "phone ringing",
    "rain": "rain",
    "shouting_screaming": "shouting",
    "siren": "siren",
    "smoke_fire_alarm": "smoke alarm",
    "sneeze": "sneeze",
    "snoring": "snoring",
    "thunderstorm": "thunder",
    "toilet_flush": "toilet flush",
    "vacuum_cleaner": "vacuum cleaner",
    "washing_machine": "washing machine",
    "water_tap_running": "running water",
}
"""Labels of the validation list, and those of config/labels.yaml that must report them."""

LASTING = frozenset(
    {"baby crying", "birds", "drill", "hair dryer", "rain", "running water", "siren", "smoke alarm", "snoring"}
    | {"speech", "vacuum cleaner", "washing machine"}
)
"""Sounds that go on: their clips are repeated, since their labels wait for several windows on purpose."""
LASTING_SECONDS = (10.0, 14.0)

COMPANIONS = {
    "laughter": {"speech"},
    "rain": {"thunder", "running water"},
    "running water": {"rain"},
    "shouting": {"speech"},
    "smoke alarm": {"appliance beep", "alarm clock"},
    "speech": {"laughter", "shouting"},
    "thunder": {"rain"},
    "toilet flush": {"running water"},
}
"""What a clip of a label may well contain besides: reported during such a clip it counts neither way."""


@dataclass(frozen=True, slots=True)
class Background:
    """A kind of background: the clips it is made of, its level, and the labels that it is itself."""

    name: str
    data_label: str
    caption_part: str
    rms_dbfs: float
    own_labels: frozenset[str] = frozenset()
    folder: str = "open"


BACKGROUNDS = (
    Background("room tone", "silence_room_tone", "room", -60.0),
    Background("speech", "speech", "", -38.0, frozenset({"speech"})),
    Background("music", "music", "", -38.0, frozenset({"music"})),
    Background("traffic", "car_engine", "traffic", -38.0),
)
ALONE = (
    *BACKGROUNDS,
    Background(
        "crowd", "conversation_crowd", "", -38.0, frozenset({"speech", "laughter", "shouting"}), "validation"
    ),
    Background("cars", "car_engine", "", -38.0, frozenset(), "validation"),
    Background("wind", "wind", "", -38.0, frozenset(), "validation"),
)
"""Backgrounds to listen to without any event: what is reported there, but for their own labels, is false.

Those of `validation` no training has heard, and no calibration.
"""
ALONE_LOUDER_DB = (-10.0, 15.0)


@dataclass(frozen=True, slots=True)
class SceneEvent:
    """A sound of a label, in seconds from the start of its scene."""

    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A minute of sound `(frames,)` at 48 kHz and the truth about it."""

    name: str
    background: Background
    samples: Floats
    events: tuple[SceneEvent, ...]


def make_scenes(data: Path = DATA, count: int = SCENES, events_from: str = "validation") -> Iterator[Scene]:
    """The scenes: events from `validation/` or what training never hears of `open/`, backgrounds from `open/`."""
    clips = clips_by_label(data, events_from)
    backgrounds = {kind: background_files(data, kind) for kind in BACKGROUNDS}
    for index, (kind, picked) in enumerate(plan_scenes(clips, count)):
        random = np.random.default_rng([SEED, index])
        sounds = [(label, _event_sound(label, path, random)) for label, path in picked]
        samples, events = place(_background(kind, backgrounds[kind], random), sounds, random)
        yield Scene(f"scene-{index:02d}", kind, samples, tuple(events))


def make_backgrounds(
    data: Path = DATA, minutes: int = 60, first: int = 0, kinds: Sequence[Background] = ALONE
) -> Iterator[Scene]:
    """Scenes without events, numbered from `first`: the kinds take turns, each minute at a level of its own."""
    files = {kind: background_files(data, kind) for kind in kinds}
    for index in range(first, first + minutes):
        kind = kinds[index % len(kinds)]
        random = np.random.default_rng([SEED, SCENES + index])
        samples = _background(kind, files[kind], random)
        gain = np.float32(10 ** (random.uniform(*ALONE_LOUDER_DB) / 20))
        yield Scene(f"background-{index:03d}", kind, np.clip(samples * gain, -1.0, 1.0), ())


def plan_scenes(
    clips: Mapping[str, Sequence[Path]], count: int
) -> Iterator[tuple[Background, list[tuple[str, Path]]]]:
    """Which background and which clips each scene has: labels take turns, and so do the clips of a label."""
    random = np.random.default_rng(SEED)
    labels = sorted(clips)
    random.shuffle(labels)
    waiting_labels = deque(labels)
    waiting_clips = {label: deque(random.permutation(clips[label]).tolist()) for label in sorted(clips)}
    for index in range(count):
        kind = BACKGROUNDS[index % len(BACKGROUNDS)]
        picked = []
        for label in [label for label in waiting_labels if label not in kind.own_labels][:EVENTS_PER_SCENE]:
            picked.append((label, waiting_clips[label][0]))
            waiting_clips[label].rotate(-1)
            waiting_labels.remove(label)
            waiting_labels.append(label)
        yield kind, picked


def place(
    background: Floats, sounds: Sequence[tuple[str, Floats]], random: np.random.Generator
) -> tuple[Floats, list[SceneEvent]]:
    """Add sounds one after the other with pauses of random length, and tell where they are."""
    samples = background.copy()
    shortest = round(SHORTEST_PAUSE_SECONDS * RATE_HZ)
    spare = len(samples) - sum(len(sound) for _, sound in sounds) - shortest * (len(sounds) + 1)
    if spare < 0:
        raise ValueError(f"{len(sounds)} sounds do not fit into {len(samples) / RATE_HZ:.0f} s")
    pauses = shortest + (random.dirichlet(np.ones(len(sounds) + 1)) * spare).astype(int)
    events, at = [], 0
    for (label, sound), pause in zip(sounds, pauses[:-1], strict=True):
        at += int(pause)
        samples[at : at + len(sound)] += sound
        events.append(SceneEvent(label, at / RATE_HZ, (at + len(sound)) / RATE_HZ))
        at += len(sound)
    return np.clip(samples, -1.0, 1.0), events


def _event_sound(label: str, path: Path, random: np.random.Generator) -> Floats:
    sound = trim(read(path))
    if label in LASTING:
        sound = extend(sound, round(random.uniform(*LASTING_SECONDS) * RATE_HZ))
    return at_level(sound, random.uniform(*EVENT_DBFS))


def _background(kind: Background, files: Sequence[Path], random: np.random.Generator) -> Floats:
    parts = [at_level(read(files[index]), kind.rms_dbfs) for index in random.permutation(len(files))[:12]]
    return extend(functools.reduce(join, parts), SCENE_SECONDS * RATE_HZ)


def clips_by_label(data: Path, folder: str) -> dict[str, list[Path]]:
    """The files of each of the scenes' labels in `validation/`, or those in `open/` that training never hears."""
    clips: dict[str, list[Path]] = {}
    rows = _rows(data / f"{folder}.csv")
    if folder == "open":
        kept = spared((row["label"], row["group"]) for row in rows)
        rows = [row for row in rows if (row["label"], row["group"]) in kept]
    for row in rows:
        label = LABELS.get(row["label"])
        if label is not None and (label != "speech" or "talk" in row["caption"]):
            clips.setdefault(label, []).append(data / folder / row["file"])
    return clips


def background_files(data: Path, kind: Background) -> list[Path]:
    """The files that a kind of background is joined from."""
    return [
        data / kind.folder / row["file"]
        for row in _rows(data / f"{kind.folder}.csv")
        if row["label"] == kind.data_label and kind.caption_part in row["caption"] and float(row["seconds"]) >= 5
    ]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read(path: Path) -> Floats:
    """A file's samples `(frames,)`, mono; raises ValueError unless it is at 48 kHz."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    if rate_hz != RATE_HZ:
        raise ValueError(f"{path}: {rate_hz} Hz instead of {RATE_HZ} Hz")
    return np.asarray(samples.mean(axis=1), dtype=np.float32)


def write_scenes(folder: Path) -> None:
    """Write each scene as FLAC, and the truth as `events.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "background", "start_seconds", "end_seconds", "label"])
        for scene in make_scenes():
            soundfile.write(folder / f"{scene.name}.flac", scene.samples, RATE_HZ)
            for event in scene.events:
                times = [f"{event.start_seconds:.3f}", f"{event.end_seconds:.3f}"]
                writer.writerow([f"{scene.name}.flac", scene.background.name, *times, event.label])


def main() -> None:
    """Print the figures of a checkpoint, or write the scenes."""
    parser = argparse.ArgumentParser(prog="python -m training.scenes", description=__doc__)
    parser.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="clapstream.yaml (default: the packaged)")
    parser.add_argument("--events-from", choices=["validation", "open"], default="validation", help="what folder")
    parser.add_argument("--scenes", type=int, default=SCENES, help=f"how many (default: {SCENES})")
    parser.add_argument("--minutes", type=int, default=60, help="of backgrounds alone (default: 60)")
    parser.add_argument(
        "--first",
        type=int,
        metavar="NUMBER",
        help="of those minutes, all of the calibrated kinds (default: the hour)",
    )
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the scenes instead")
    options = parser.parse_args()
    if options.write is not None:
        write_scenes(options.write)
        return
    from training.event_figures import compare, render, render_false_events
    from training.scene_run import SceneListener

    listener = SceneListener(options.checkpoint, options.config)
    scenes = make_scenes(count=options.scenes, events_from=options.events_from)
    print(render(compare([(scene, listener.detect(scene)) for scene in scenes])))
    first, kinds = (0, ALONE) if options.first is None else (options.first, BACKGROUNDS)
    minutes = make_backgrounds(minutes=options.minutes, first=first, kinds=kinds)
    alone = compare([(scene, listener.detect(scene)) for scene in minutes])
    print("\nbackgrounds alone")
    print(render_false_events(alone))


if __name__ == "__main__":
    main()
