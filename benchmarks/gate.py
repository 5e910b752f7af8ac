"""Does the gate change any event? The evaluation scenes, real rooms and steady noise with faint and loud sounds.

    python -m benchmarks.gate                     # some minutes
    python -m benchmarks.gate --scenes 4 --rooms 4 --noises 4

Every window is scored once. Then the events are made of the scores with and without the gate, at the thresholds of
the packaged labels and at parts of them: what a model that hears better would report.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.config import Settings, load_settings
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.detection.detector import DetectorRule, ListenedLabels
from clapstream.detection.events import EventRule
from clapstream.detection.gate import GateRule
from clapstream.detection.rules import gate_rule
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.torch_engine import TorchEngine
from clapstream.inference.worker import Deliver, EmbeddedWindow
from clapstream.process.threads import set_openmp_defaults
from clapstream.updates import EventEnded, SourceDiagnostics, Update
from training import scenes
from training.scene_sounds import at_level, extend, join, trim

Floats = NDArray[np.float32]

LEAD_IN_SECONDS, LEAD_OUT_SECONDS = 150, 90
"""Of a scene's own background around it: a minute without the gate, and some to learn from."""
NOISE_SECONDS = 600
NOISES = (("white", -70.0), ("pink", -60.0), ("pink", -50.0), ("brown", -55.0), ("white", -60.0), ("pink", -65.0))
"""Kinds of noise and their levels in dBFS."""
TILTS = {"white": 0.0, "pink": 0.5, "brown": 1.0}
"""Amplitude falls with frequency to this power."""
ABOVE_NOISE_DB = (-12.0, 30.0)
PAUSE_SECONDS = (15.0, 45.0)
THRESHOLDS = (1.0, 0.5, 0.25)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Player:
    """A stream of samples `(frames,)`, read as fast as the model takes it."""

    name = "room"
    dropped_blocks = reconnects = 0
    silent = False

    def __init__(self, samples: Floats) -> None:
        self._samples = samples

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        yield StreamOpened(START)
        for first in range(0, len(self._samples), RATE_HZ):
            yield Block(first, self._samples[first : first + RATE_HZ])


class Model:
    """Embeds each window of a sound once, however often it is listened to."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine = engine
        self._known: dict[int, Floats] = {}
        self._stream = Identity()

    def offer(self, source: str, samples: Floats, position: StreamPosition, deliver: Deliver) -> bool:
        end = position.first_sample + len(samples)
        if end not in self._known:
            place = StreamPosition(self._stream, position.first_sample)
            self._known[end] = self._engine.embed([samples], [place]).windows[0]
        asyncio.get_running_loop().call_soon(deliver, EmbeddedWindow(self._known[end], None, 0.0))
        return False

    def withdraw(self, source: str) -> None:
        """Nothing ever waits."""


class Identity:
    """Stands for a stream."""


@dataclass(slots=True)
class Figures:
    """What was heard of one kind of sound at one part of the thresholds."""

    windows: int = 0
    passed: int = 0
    events: int = 0
    changed: int = 0


@torch.inference_mode()
def main() -> None:
    """Print a table of all kinds of sound at all thresholds."""
    set_openmp_defaults()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--checkpoint", default="bundled", help="bundled, a directory or a hub id")
    parser.add_argument("--scenes", type=int, default=scenes.SCENES, help="how many evaluation scenes")
    parser.add_argument("--rooms", type=int, default=12, help="how many rooms of ten minutes each")
    parser.add_argument("--noises", type=int, default=2 * len(NOISES), help="how many times ten minutes of noise")
    options = parser.parse_args()
    settings = load_settings(None)
    model = settings.model.model_copy(update={"checkpoint": options.checkpoint})
    engine = TorchEngine(model, settings.cache_directory)
    labels = LabelEmbedder(model, settings.cache_directory).listened_labels(settings.labels)
    print("sounds    thresholds  windows  passed  events  changed")
    kinds = {
        "scenes": led_scenes(options.scenes),
        "rooms": rooms(options.rooms),
        "noise": noises(options.noises),
    }
    for kind, sounds in kinds.items():
        figures = {part: Figures() for part in THRESHOLDS}
        for samples in sounds:
            compare(samples, Model(engine), labels, settings, figures)
        for part, found in figures.items():
            counts = f"{found.windows:>7}  {found.passed:>6}  {found.events:>6}  {found.changed:>7}"
            print(f"{kind:<8}  {part:>10.2f}  {counts}", flush=True)


def compare(
    samples: Floats, model: Model, labels: ListenedLabels, settings: Settings, figures: Mapping[float, Figures]
) -> None:
    """Listen to a sound with and without the gate at each part of the thresholds."""
    gate = gate_rule(settings.gate.model_copy(update={"enabled": True}))
    for part, figure in figures.items():
        without, _ = listen(samples, model, scaled(labels, part), settings, None)
        gated, counters = listen(samples, model, scaled(labels, part), settings, gate)
        figure.windows += counters.windows + counters.gated_windows
        figure.passed += counters.gated_windows
        figure.events += len(without)
        figure.changed += len(without ^ gated)


def listen(
    samples: Floats, model: Model, labels: ListenedLabels, settings: Settings, gate: GateRule | None
) -> tuple[set[tuple[str, datetime, datetime | None]], SourceDiagnostics]:
    """The events that the daemon's own pipeline reports, and its last counters."""
    updates: list[Update] = []
    pipeline = SourcePipeline(
        Player(samples),
        live=False,
        rule=DetectorRule(
            round(settings.window.seconds * RATE_HZ), round(settings.window.hop_seconds * RATE_HZ), gate
        ),
        worker=model,
        publish=updates.append,
    )
    pipeline.use_labels(labels)
    asyncio.run(pipeline.run())
    ended = [update.event for update in updates if isinstance(update, EventEnded)]
    counters = [update for update in updates if isinstance(update, SourceDiagnostics)]
    return {(event.label.slug, event.started, event.ended) for event in ended}, counters[-1]


def scaled(labels: ListenedLabels, part: float) -> ListenedLabels:
    """The labels with a part of their thresholds."""
    return replace(labels, rules=tuple(scaled_rule(rule, part) for rule in labels.rules))


def scaled_rule(rule: EventRule, part: float) -> EventRule:
    """The rule with a part of its thresholds."""
    return replace(rule, label=replace(rule.label, start=rule.label.start * part, stop=rule.label.stop * part))


def led_scenes(count: int) -> Iterator[Floats]:
    """The evaluation scenes, led in and out by more of their kind of background."""
    for index, scene in enumerate(scenes.make_scenes(count=count)):
        kind, random = scene.background, np.random.default_rng([7, index])
        files = scenes.background_files(scenes.DATA, kind)
        chosen = random.permutation(len(files))[:6]
        room = functools.reduce(join, [at_level(scenes.read(files[number]), kind.rms_dbfs) for number in chosen])
        lead_in, lead_out = (extend(room, s * RATE_HZ) for s in (LEAD_IN_SECONDS, LEAD_OUT_SECONDS))
        yield np.concatenate([lead_in, scene.samples, lead_out])


def rooms(count: int) -> Iterator[Floats]:
    """Ten minutes each of one room's tone, a recording of some seconds that is repeated, with sounds in it."""
    kind = scenes.BACKGROUNDS[0]
    files = scenes.background_files(scenes.DATA, kind)
    for index in range(count):
        random = np.random.default_rng([6, index])
        tone = at_level(scenes.read(files[random.integers(len(files))]), kind.rms_dbfs)
        yield add_sounds(extend(tone, NOISE_SECONDS * RATE_HZ), kind.rms_dbfs, random)


def noises(count: int) -> Iterator[Floats]:
    """Ten minutes each of steady noise and mains hum, with sounds in it."""
    for index in range(count):
        random = np.random.default_rng([5, index])
        kind, dbfs = NOISES[index % len(NOISES)]
        yield add_sounds(steady_noise(kind, dbfs, random), dbfs, random)


def add_sounds(room: Floats, dbfs: float, random: np.random.Generator) -> Floats:
    """Add a clip of a random label every half minute or so to a room of that RMS level."""
    clips = scenes.clips_by_label(scenes.DATA, "validation")
    labels = sorted(clips)
    sounding = room.copy()
    at = 100 * RATE_HZ
    while at < len(room) - 40 * RATE_HZ:
        of_label = clips[labels[random.integers(len(labels))]]
        sound = trim(scenes.read(of_label[random.integers(len(of_label))]))
        sound = at_level(sound, dbfs + random.uniform(*ABOVE_NOISE_DB))
        sounding[at : at + len(sound)] += sound
        at += len(sound) + round(random.uniform(*PAUSE_SECONDS) * RATE_HZ)
    return np.clip(sounding, -1.0, 1.0)


def steady_noise(kind: str, dbfs: float, random: np.random.Generator) -> Floats:
    """Noise of a kind at an RMS level, with hum of 50 Hz at the same level."""
    frames = NOISE_SECONDS * RATE_HZ
    spectrum = np.fft.rfft(random.standard_normal(frames))
    spectrum /= np.maximum(np.fft.rfftfreq(frames, 1 / RATE_HZ), 20.0) ** TILTS[kind]
    noise = np.fft.irfft(spectrum, frames)
    hum = np.sin(2 * np.pi * 50 / RATE_HZ * np.arange(frames)) * 2**0.5
    return np.asarray((noise / noise.std() + hum) * 10 ** (dbfs / 20), dtype=np.float32)


if __name__ == "__main__":
    main()
