"""Whatever is written in the two files: settings, or `ConfigError` with printable lines."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support import hostile

from clapstream.config import ConfigError, Settings, load_settings
from clapstream.config.label_settings import LabelSettings, LabelsFile
from clapstream.config.model_settings import WindowSettings
from clapstream.config.mqtt_settings import MqttSettings
from clapstream.config.settings import MainFile
from clapstream.config.source_settings import RecordingSettings

KEYS = sorted(
    {"type", "url", "rate_hz", "channels", "device", "channel", "checkpoint", "precision", "<<"}
    | {
        key
        for section in (MainFile, LabelsFile, LabelSettings, MqttSettings, RecordingSettings, WindowSettings)
        for key in section.model_fields
    }
)
WORDS = ["microphone", "recording", "pcm", "stream", "bundled", ".", "/", "~", "a#", "é", "🔔", "\x1b[2J", ""]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-1, max_value=50)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=20)
)
structures = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)
files = st.dictionaries(st.sampled_from(KEYS), structures, max_size=6)


def load(main: str, labels: str) -> Settings | ConfigError:
    """Load from two files of this text, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "labels.yaml").write_text(labels, encoding="utf-8")
        path = Path(folder, "clapstream.yaml")
        path.write_text(main, encoding="utf-8")
        try:
            return load_settings(path, {})
        except ConfigError as error:
            assert error.problems
            assert all(line.isprintable() for line in str(error).split("\n"))
            assert len(str(error).split("\n")) == len(error.problems)
            return error


@settings(max_examples=hostile.inputs(300))
@given(st.text(alphabet="{}[]:,-&*!|>'\"%@`#?ab \n\t0.\\uxU<=~", max_size=60))
def test_any_punctuation(text: str) -> None:
    load("labels: labels.yaml", text)


@settings(max_examples=hostile.inputs(400))
@given(files, files | structures)
def test_any_structure(main: dict[str, Any], labels: Any) -> None:
    load(json.dumps({"labels": "labels.yaml", **main}), json.dumps(labels))
