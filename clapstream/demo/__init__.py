"""What `clapstream demo` listens to: a recording that comes with the package, under settings of its own."""

from __future__ import annotations

from pathlib import Path

from clapstream.config import RecordingSettings, Settings, load_settings

RECORDING = Path(__file__).parent / "recording.ogg"


def demo_settings() -> Settings:
    """The packaged settings with the recording for a microphone and no broker."""
    recording = RecordingSettings(name="demo room", path=RECORDING)
    return load_settings(None).model_copy(update={"sources": (recording,), "mqtt": None})
