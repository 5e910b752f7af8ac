"""Makes the recording that `clapstream demo` listens to: a minute in a quiet room, from freely licensed sounds.

Writes `recording.ogg` (Opus) and `ATTRIBUTION.md`. Both are in the repository; run this only to change them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from training.paths import RATE_HZ
from training.recordings import read_rows

SECONDS = 75
ROOM_DB = -32.0


@dataclass(frozen=True)
class Placed:
    """A clip that starts at `seconds` with its peak at `peak_db` dBFS."""

    seconds: float
    file: str
    peak_db: float


ROOM = "silence_room_tone__doggy__1.opus"
SCENE = (
    Placed(2.0, "doorbell__berklee__1.opus", -8.0),
    Placed(13.0, "dog_barking__mtsounds__1.opus", -6.0),
    Placed(15.0, "dog_barking__mtsounds__1.opus", -7.0),
    Placed(25.0, "speech__libri__1.opus", -8.0),
    Placed(43.0, "door_knock__mtsounds__1.opus", -6.0),
    Placed(51.0, "crying_baby__esc10__1-22694-A.opus", -8.0),
    Placed(63.0, "smoke_fire_alarm__synth__2.opus", -10.0),
)


def make(folder: Path, target: Path) -> None:
    """Mix the scene of the sounds in `folder` and write it to `target` with its attribution."""
    tone, _ = soundfile.read(folder / ROOM, dtype="float32")
    mix = np.resize(
        np.concatenate([tone, tone[::-1]]), SECONDS * RATE_HZ
    )  # forwards and backwards, so that the loop does not click
    mix *= 10 ** (ROOM_DB / 20) / np.abs(mix).max()
    for placed in SCENE:
        samples, _ = soundfile.read(folder / placed.file, dtype="float32")
        first = round(placed.seconds * RATE_HZ)
        mix[first : first + len(samples)] += samples * 10 ** (placed.peak_db / 20) / np.abs(samples).max()
    target.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(
        target / "recording.ogg", "w", RATE_HZ, 1, format="OGG", subtype="OPUS", compression_level=0.9
    ) as writer:
        for first in range(0, len(mix), RATE_HZ):  # libsndfile's Opus encoder fails on large blocks
            writer.write(mix[first : first + RATE_HZ])
    (target / "ATTRIBUTION.md").write_text(attribution(folder), encoding="utf-8")


def attribution(folder: Path) -> str:
    """A table of the sounds that are used, with sources and licences from the folder's CSV."""
    rows = {row["file"]: row for row in read_rows(folder.with_suffix(".csv"))}
    lines = [
        f"| {rows[file]['label']} | {rows[file]['source']} | {rows[file]['licence']} |" for file in used_files()
    ]
    header = (
        "# Sounds in recording.ogg\n\nMixed and level-adjusted.\n\n| sound | source | licence |\n|---|---|---|\n"
    )
    return header + "\n".join(lines) + "\n"


def used_files() -> list[str]:
    """Every clip once, in order of appearance."""
    return list(dict.fromkeys([ROOM, *(placed.file for placed in SCENE)]))
