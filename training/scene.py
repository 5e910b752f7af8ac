"""What a scene is: a background, sound and true events; and the labels and backgrounds that scenes are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

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
"""Labels of the validation list, and the labels of config/labels.yaml that must report them."""

LASTING = frozenset(
    {"baby crying", "birds", "drill", "hair dryer", "rain", "running water", "siren", "smoke alarm", "snoring"}
    | {"speech", "vacuum cleaner", "washing machine"}
)
"""Long sounds: their clips are repeated, because their labels are only confirmed by several windows."""
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
"""Labels that a clip of a label may contain as well: reported during it they are neither right nor false."""


@dataclass(frozen=True, slots=True)
class Background:
    """A kind of background: the recordings it is made of, its level, and the labels that it contains itself."""

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
"""Backgrounds without any event: what is reported there, except for their own labels, is false.

Those of `validation` are used neither for training nor for calibration.
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
    """A minute of sound `(samples,)` at 48 kHz and its true events."""

    name: str
    background: Background
    samples: Floats
    events: tuple[SceneEvent, ...]
