"""Synthetic sounds for what the recordings have too few of. Everything about a sound is drawn at random each time.

None of them has to be realistic: the teacher listens to every window and says what it sounds like.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.effects import Random, Samples, Wave, fade_ends
from training.procedural.alarms import beeps, bell, horn, old_telephone, siren, smoke_alarm
from training.procedural.impacts import clicks, knocks, shatter, shots
from training.procedural.machines import air_mover, engine, impact_tool, motor_whine, rotor
from training.procedural.music import tune
from training.procedural.voices import chirps, throat
from training.procedural.weather import bubbles, drops, weather

Maker = Callable[[float, Random], Wave]
"""Makes so many seconds of a kind of sound, at any level."""

MAKERS: dict[str, tuple[Maker, float]] = {
    "engine": (engine, 3.0),
    "impact_tool": (impact_tool, 3.0),
    "motor_whine": (motor_whine, 2.0),
    "air_mover": (air_mover, 3.0),
    "siren": (siren, 2.0),
    "horn": (horn, 1.5),
    "bell": (bell, 1.5),
    "beeps": (beeps, 1.5),
    "smoke_alarm": (smoke_alarm, 3.5),
    "old_telephone": (old_telephone, 0.5),
    "knocks": (knocks, 1.5),
    "clicks": (clicks, 1.5),
    "shots": (shots, 1.5),
    "bubbles": (bubbles, 1.0),
    "weather": (weather, 1.5),
    "drops": (drops, 2.5),
    "throat": (throat, 1.5),
    "chirps": (chirps, 1.0),
    "rotor": (rotor, 1.5),
    "shatter": (shatter, 0.7),
    "tune": (tune, 1.0),
}
"""Every maker and its weight in the draw."""

_NAMES = list(MAKERS)
_WEIGHTS = np.array([weight for _, weight in MAKERS.values()])


def make(random: Random) -> tuple[str, Samples]:
    """Draw a maker and a length; return its name and the sound with a peak of about 1."""
    name = _NAMES[random.choice(len(_NAMES), p=_WEIGHTS / _WEIGHTS.sum())]
    sound = np.nan_to_num(MAKERS[name][0](float(random.choice([2.0, 4.0, 5.0, 10.0])), random)).astype(np.float32)
    return name, fade_ends(sound / np.float32(np.max(np.abs(sound)) + 1e-6))


__all__ = ["MAKERS", "Maker", "make"]
