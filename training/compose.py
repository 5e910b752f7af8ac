"""Composes training windows: one to five sounds with random effects, placed in 10 s or in a shorter excerpt."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from training import effects, morphs, procedural
from training.effects import Random, Samples
from training.paths import RATE_HZ, WINDOW_SAMPLES
from training.procedural.weather import drops
from training.recordings import Recording, Recordings
from training.window import Window, cut, final_level, place, repeat_events

PROCEDURAL_LABELS = {
    "siren": "siren",
    "horn": "car_horn",
    "old_telephone": "phone_ringing",
    "smoke_alarm": "smoke_fire_alarm",
    "shots": "gunshot",
    "tune": "music",
}
"""Procedural sounds that certainly are what a label says. For the others only the teacher's tags count."""
VOICES = ("speech", "shouting_screaming", "laughter", "crying_baby", "singing", "conversation_crowd")
MUSIC = ("music", "guitar", "drums", "singing", "piano")
TRAFFIC = ("car_engine", "truck", "motorcycle", "train", "car_horn", "footsteps")
BACKGROUNDS = (
    "speech", "music", "conversation_crowd", "rain", "wind", "car_engine", "sea_waves", "silence_room_tone",
    "fan_air_conditioner", "white_pink_noise", "bird_chirping", "insects_crickets", "train", "stream_river",
    "footsteps", "keyboard_typing", "airplane", "water_tap_running", "truck", "clock_ticking",
)  # fmt: skip
RAIN_ON_SURFACE = 0.35
"""Share of rain that falls on something near the microphone: there are few such recordings."""


@dataclass(slots=True)
class Sound:
    """A stretch of sound and what it is (None: only the teacher knows)."""

    samples: Samples
    label: str | None


class Composer:
    """Draws windows from the labelled recordings and the procedural sounds."""

    def __init__(self, recordings: Recordings, *, held_out_only: bool = False) -> None:
        self._recordings = recordings
        self._groups: dict[str, dict[str, list[Recording]]] = defaultdict(lambda: defaultdict(list))
        held_out = recordings.held_out()
        for one in held_out if held_out_only else [one for one in recordings.recordings if one not in held_out]:
            self._groups[one.label][one.group].append(one)
        self.labels = sorted(self._groups)
        weights = np.array([len(self._groups[label]) ** 0.4 for label in self.labels])
        self._weights = weights / weights.sum()

    def _clip(self, random: Random, labels: tuple[str, ...] | None = None) -> tuple[str, Samples]:
        """A random recording and its label: labels are balanced, groups of a label equally likely."""
        known = [label for label in labels or () if label in self._groups]
        label = known[random.integers(len(known))] if known else random.choice(self.labels, p=self._weights)
        groups = list(self._groups[label].values())
        group = groups[random.integers(len(groups))]
        samples = self._recordings.samples(group[random.integers(len(group))])
        if label == "rain" and random.random() < RAIN_ON_SURFACE:
            samples = rain_on_surface(samples[:WINDOW_SAMPLES], random)
        return str(label), samples

    def _crowd(self, random: Random) -> Sound:
        """Many sounds at once: children playing, music in the street, a crowd, traffic."""
        kind = random.choice(["children_playing", "street_music", "conversation_crowd", "traffic"])
        choice = {
            "children_playing": VOICES,
            "conversation_crowd": ("speech", "speech", "laughter"),
            "traffic": TRAFFIC,
        }
        mixture = np.zeros(WINDOW_SAMPLES, np.float32)
        if kind == "street_music":
            parts = [(self._clip(random, MUSIC)[1], 0.0)]
            parts += [(self._clip(random, TRAFFIC + VOICES)[1], random.uniform(-25, -5)) for _ in range(3)]
        else:
            number = random.integers(3, 9)
            parts = [(self._clip(random, choice[kind])[1], random.uniform(-12, 0)) for _ in range(number)]
        for samples, level in parts:
            if kind == "children_playing":
                samples = effects.speed(samples, random.uniform(1.15, 1.75))
            elif random.random() < 0.5:
                samples = effects.speed(samples, random.uniform(0.8, 1.25))
            place(mixture, effects.to_level(samples[:WINDOW_SAMPLES], level - 20), random)
        mixture = effects.colour(mixture, random, spread_db=3, room=True, narrow=random.random() < 0.3)
        return Sound(mixture[:WINDOW_SAMPLES], None if kind == "traffic" else str(kind))

    def sound(self, random: Random, labels: tuple[str, ...] | None = None) -> Sound:
        """A sound with random speed, equalisation, reverberation and distortion."""
        draw = random.random()
        if labels is None and draw < 0.08:
            return self._crowd(random)
        if labels is None and draw < 0.30:
            maker, samples = procedural.make(random)
            label = PROCEDURAL_LABELS.get(maker)
        else:
            label, samples = self._clip(random, labels)
        if random.random() < 0.22:
            other = self._clip(random)[1]
            samples, label = morphs.morph(samples[:WINDOW_SAMPLES], other[:WINDOW_SAMPLES], random), None
        if random.random() < 0.55:
            samples = effects.speed(samples, float(np.exp(np.clip(random.normal(0, 0.2), -0.5, 0.5))))
        if random.random() < 0.7:
            wild = random.random() < 0.3
            samples = effects.colour(
                samples,
                random,
                spread_db=6 if wild else 3,
                room=random.random() < 0.4,
                narrow=random.random() < 0.35,
            )
        if random.random() < 0.06:
            samples = effects.overload(samples, random)
        return Sound(np.ascontiguousarray(samples), label)

    def plain_window(self, random: Random) -> Window:
        """One recording by itself, as in collections of sounds: whole or 4 to 5 s of it, little changed."""
        label, samples = self._clip(random)
        samples = samples[:WINDOW_SAMPLES]
        if random.random() < 0.5:
            samples = cut(samples, int(random.uniform(4, 5) * RATE_HZ), random, shorten=False)
        if random.random() < 0.4:
            samples = effects.speed(samples, float(random.uniform(0.85, 1.18)))[:WINDOW_SAMPLES]
        if random.random() < 0.5:
            samples = effects.colour(samples, random, spread_db=3, room=random.random() < 0.3, narrow=False)[
                :WINDOW_SAMPLES
            ]
        if random.random() < 0.3:
            floor = effects.tilted_noise(len(samples), random, random.uniform(-8, 0))
            quiet = effects.decibel(effects.level_db(samples) - random.uniform(20, 45))
            samples = samples + floor * np.float32(quiet)
        if len(samples) < RATE_HZ // 10:
            samples = np.pad(samples, (0, RATE_HZ // 10 - len(samples)))
        seconds = len(samples) / RATE_HZ
        return Window(final_level(samples, random), repeat_events([(label, 0.0, seconds, -20.0)], seconds))

    def window(self, random: Random) -> Window:
        """One training window."""
        if random.random() < 0.45:
            seconds = float(random.choice([random.uniform(0.4, 5), 4.0, 5.0, random.uniform(5, 10)]))
            number = 1 if random.random() < 0.8 else 2
            backdrop = 0.35
        else:
            seconds, number, backdrop = 10.0, int(random.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1])), 0.5
        mixture = np.zeros(int(seconds * RATE_HZ), np.float32)
        events = []
        for index in range(number):
            sound = self.sound(random)
            level = -20.0 - (random.uniform(-3, 15) if index else 0)
            samples = cut(sound.samples, len(mixture), random, shorten=number > 1 or random.random() < 0.3)
            first, last = place(mixture, effects.to_level(effects.fade_ends(samples), level), random)
            if sound.label is not None:
                events.append((sound.label, first / RATE_HZ, last / RATE_HZ, level))
        if random.random() < backdrop:
            behind = self.sound(random, BACKGROUNDS if random.random() < 0.7 else None)
            level = -20.0 - random.uniform(3, 30)
            filled = np.resize(effects.fade_ends(behind.samples), len(mixture))
            mixture += effects.to_level(filled, level)
            if behind.label is not None:
                events.append((behind.label, 0.0, seconds, level))
        if random.random() < 0.85:
            floor = effects.tilted_noise(len(mixture), random, random.uniform(-8, 1))
            mixture += floor * np.float32(effects.decibel(-20 - random.uniform(15, 60)))
        return Window(final_level(mixture, random), repeat_events(events, seconds))


def rain_on_surface(rain: Samples, random: Random) -> Samples:
    """Rain with drops on something near, louder or fainter than it, as heard in a tent or behind a window."""
    near = drops(len(rain) / RATE_HZ, random)
    near = effects.to_level(np.resize(near, len(rain)), effects.level_db(rain) + random.uniform(-8, 10))
    both: Samples = rain + near.astype(np.float32)
    return both
