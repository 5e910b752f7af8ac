"""Makes one-minute scenes with known events: clips over a background, to measure the detection of events.

Every scene is a pure function of its index, so the figures of two checkpoints can be compared.
"""

from __future__ import annotations

import csv
import functools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from training import paths
from training.paths import DATA, RATE_HZ
from training.recordings import read, read_rows
from training.scene import (
    ALONE,
    ALONE_LOUDER_DB,
    BACKGROUNDS,
    LABELS,
    LASTING,
    LASTING_SECONDS,
    Background,
    Floats,
    Scene,
    SceneEvent,
)
from training.scene_sounds import at_level, extend, join, trim
from training.split import held_out

__all__ = [
    "ALONE",
    "BACKGROUNDS",
    "DATA",
    "SCENES",
    "Background",
    "Scene",
    "SceneEvent",
    "background_files",
    "clips_by_label",
    "make_backgrounds",
    "make_scenes",
    "place",
    "plan_scenes",
    "read",
    "write_scenes",
]

SCENES = 30
SCENE_SECONDS = 60
EVENTS_PER_SCENE = 3
SEED = 20
SHORTEST_PAUSE_SECONDS = 3.0
EVENT_DBFS = (-30.0, -18.0)


def make_scenes(data: Path | None = None, count: int = SCENES, events_from: str = "validation") -> Iterator[Scene]:
    """The scenes: events from `validation/` or from the held-out part of `open/`, backgrounds from `open/`."""
    data = paths.data() if data is None else data
    clips = clips_by_label(data, events_from)
    backgrounds = {kind: background_files(data, kind) for kind in BACKGROUNDS}
    for index, (kind, picked) in enumerate(plan_scenes(clips, count)):
        random = np.random.default_rng([SEED, index])
        sounds = [(label, _event_sound(label, path, random)) for label, path in picked]
        samples, events = place(_background(kind, backgrounds[kind], random), sounds, random)
        yield Scene(f"scene-{index:02d}", kind, samples, tuple(events))


def make_backgrounds(
    data: Path | None = None, minutes: int = 60, first: int = 0, kinds: Sequence[Background] = ALONE
) -> Iterator[Scene]:
    """Scenes without events, numbered from `first`: the kinds take turns, each minute at a level of its own."""
    data = paths.data() if data is None else data
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
    queued_labels = deque(labels)
    queued_clips = {
        label: deque(clips[label][row] for row in random.permutation(len(clips[label]))) for label in sorted(clips)
    }
    for index in range(count):
        kind = BACKGROUNDS[index % len(BACKGROUNDS)]
        picked = []
        for label in [label for label in queued_labels if label not in kind.own_labels][:EVENTS_PER_SCENE]:
            picked.append((label, queued_clips[label][0]))
            queued_clips[label].rotate(-1)
            queued_labels.remove(label)
            queued_labels.append(label)
        yield kind, picked


def place(
    background: Floats, sounds: Sequence[tuple[str, Floats]], random: np.random.Generator
) -> tuple[Floats, list[SceneEvent]]:
    """Add sounds one after the other with pauses of random length; return the mixture and the events."""
    samples = background.copy()
    shortest = round(SHORTEST_PAUSE_SECONDS * RATE_HZ)
    free = len(samples) - sum(len(sound) for _, sound in sounds) - shortest * (len(sounds) + 1)
    if free < 0:
        raise ValueError(f"{len(sounds)} sounds do not fit into {len(samples) / RATE_HZ:.0f} s")
    pauses = shortest + (random.dirichlet(np.ones(len(sounds) + 1)) * free).astype(int)
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
    """The files of each of the scenes' labels in `validation/`, or the held-out ones in `open/`."""
    clips: dict[str, list[Path]] = {}
    rows = read_rows(data / f"{folder}.csv")
    if folder == "open":
        kept = held_out((row["label"], row["group"]) for row in rows)
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
        for row in read_rows(data / f"{kind.folder}.csv")
        if row["label"] == kind.data_label and kind.caption_part in row["caption"] and float(row["seconds"]) >= 5
    ]


def write_scenes(folder: Path, scenes: int = SCENES) -> None:
    """Write each scene as FLAC, and the truth as `events.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "background", "start_seconds", "end_seconds", "label"])
        for scene in make_scenes(count=scenes):
            soundfile.write(folder / f"{scene.name}.flac", scene.samples, RATE_HZ)
            for event in scene.events:
                times = [f"{event.start_seconds:.3f}", f"{event.end_seconds:.3f}"]
                writer.writerow([f"{scene.name}.flac", scene.background.name, *times, event.label])
