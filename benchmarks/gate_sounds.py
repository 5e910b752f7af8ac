"""What the gate is tried on: evaluation scenes, rooms and steady noise, mono samples `(samples,)` at 48 kHz."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ
from training import scenes
from training.scene_sounds import at_level, extend, join, trim

Floats = NDArray[np.float32]

LEAD_IN_SECONDS, LEAD_OUT_SECONDS = 150, 90
"""Of a scene's own background around it: a minute without the gate, and some to learn from."""
NOISES = (("white", -70.0), ("pink", -60.0), ("pink", -50.0), ("brown", -55.0), ("white", -60.0), ("pink", -65.0))
"""Kinds of noise and their levels in dBFS."""
TILTS = {"white": 0.0, "pink": 0.5, "brown": 1.0}
"""Amplitude falls with frequency to this power."""
ABOVE_ROOM_DB = (-12.0, 30.0)
FIRST_SOUND_SECONDS, LAST_SECONDS_WITHOUT = 100, 40
PAUSE_SECONDS = (15.0, 45.0)


def led_scenes(data: Path, count: int) -> Iterator[Floats]:
    """The evaluation scenes, led in and out by more of their kind of background."""
    for index, scene in enumerate(scenes.make_scenes(data, count)):
        kind, random = scene.background, np.random.default_rng([7, index])
        files = scenes.background_files(data, kind)
        chosen = random.permutation(len(files))[:6]
        room = functools.reduce(join, [at_level(scenes.read(files[number]), kind.rms_dbfs) for number in chosen])
        lead_in, lead_out = (extend(room, s * RATE_HZ) for s in (LEAD_IN_SECONDS, LEAD_OUT_SECONDS))
        yield np.concatenate([lead_in, scene.samples, lead_out])


def rooms(data: Path, count: int, seconds: int) -> Iterator[Floats]:
    """The tone of one room each, a recording of some seconds that is repeated, with sounds in it."""
    kind = scenes.BACKGROUNDS[0]
    files = scenes.background_files(data, kind)
    for index in range(count):
        random = np.random.default_rng([6, index])
        tone = at_level(scenes.read(files[random.integers(len(files))]), kind.rms_dbfs)
        yield add_sounds(extend(tone, seconds * RATE_HZ), kind.rms_dbfs, data, random)


def noises(data: Path, count: int, seconds: int) -> Iterator[Floats]:
    """Steady noise and mains hum, with sounds in it."""
    for index in range(count):
        random = np.random.default_rng([5, index])
        kind, dbfs = NOISES[index % len(NOISES)]
        yield add_sounds(steady_noise(kind, dbfs, seconds, random), dbfs, data, random)


def add_sounds(room: Floats, dbfs: float, data: Path, random: np.random.Generator) -> Floats:
    """Add a clip of a random label every half minute or so to a room of that RMS level."""
    clips = scenes.clips_by_label(data, "validation")
    labels = sorted(clips)
    sounding = room.copy()
    at = FIRST_SOUND_SECONDS * RATE_HZ
    while at < len(room) - LAST_SECONDS_WITHOUT * RATE_HZ:
        of_label = clips[labels[random.integers(len(labels))]]
        sound = trim(scenes.read(of_label[random.integers(len(of_label))]))
        sound = at_level(sound, dbfs + random.uniform(*ABOVE_ROOM_DB))
        sounding[at : at + len(sound)] += sound
        at += len(sound) + round(random.uniform(*PAUSE_SECONDS) * RATE_HZ)
    return np.clip(sounding, -1.0, 1.0)


def steady_noise(kind: str, dbfs: float, seconds: int, random: np.random.Generator) -> Floats:
    """Noise of a kind at an RMS level, with hum of 50 Hz at the same level."""
    count = seconds * RATE_HZ
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 20.0) ** TILTS[kind]
    noise = np.fft.irfft(spectrum, count)
    hum = np.sin(2 * np.pi * 50 / RATE_HZ * np.arange(count)) * 2**0.5
    return np.asarray((noise / noise.std() + hum) * 10 ** (dbfs / 20), dtype=np.float32)
