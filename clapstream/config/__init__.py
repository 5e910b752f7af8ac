"""The configuration: `load_settings` reads it into `Settings`, or raises `ConfigError` with all that is wrong.

`settings` has the tree of everything that can be set.
"""

from __future__ import annotations

from clapstream.config.label_settings import LabelSet, LabelSettings
from clapstream.config.loading import load_settings
from clapstream.config.model_settings import GateSettings, ModelSettings, WindowSettings
from clapstream.config.mqtt_settings import MqttSettings, SpoolSettings, TlsSettings
from clapstream.config.paths import default_config_directory
from clapstream.config.problems import ConfigError, Problem
from clapstream.config.settings import Settings
from clapstream.config.source_settings import (
    MicrophoneSettings,
    PcmSettings,
    RecordingSettings,
    SourceSettings,
    StreamSettings,
)

__all__ = [
    "ConfigError",
    "GateSettings",
    "LabelSet",
    "LabelSettings",
    "MicrophoneSettings",
    "ModelSettings",
    "MqttSettings",
    "PcmSettings",
    "Problem",
    "RecordingSettings",
    "Settings",
    "SourceSettings",
    "SpoolSettings",
    "StreamSettings",
    "TlsSettings",
    "WindowSettings",
    "default_config_directory",
    "load_settings",
]
