"""Reads the configuration: two YAML files and a few environment variables become `Settings`, or all that is wrong.

Everything that is wrong in either file is found in one go; each problem names the file, the line, the field and
what is allowed there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clapstream.config.file import ConfigFile
from clapstream.config.paths import FilePath
from clapstream.config.problems import ConfigError, Problem
from clapstream.config.secret_files import explain_unreadable
from clapstream.config.settings import (
    GateSettings,
    LabelDefaults,
    LabelSet,
    LabelSettings,
    LabelsFile,
    MainFile,
    MicrophoneSettings,
    ModelSettings,
    MqttSettings,
    PcmSettings,
    RecordingSettings,
    Settings,
    SourceSettings,
    SpoolSettings,
    StreamSettings,
    TlsSettings,
    WindowSettings,
)
from clapstream.config.yaml_reader import Location, Value
from clapstream.slugs import slugify
from clapstream.urls import HIDDEN, may_hold_credentials

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
    "slugify",
]

OVERRIDES = {
    "CLAPSTREAM_MODEL_DEVICE": ("model", "device"),
    "CLAPSTREAM_MQTT_HOST": ("mqtt", "host"),
    "CLAPSTREAM_MQTT_PORT": ("mqtt", "port"),
    "CLAPSTREAM_MQTT_USERNAME": ("mqtt", "username"),
}
"""Environment variables that win over clapstream.yaml: what differs between containers that share one file."""


def default_config_directory() -> Path:
    """Directory of the default clapstream.yaml and labels.yaml: in the wheel, or in the source tree."""
    package = Path(__file__).parent.parent
    packaged = package / "default_config"
    return packaged if packaged.is_dir() else package.parent / "config"


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a clapstream.yaml (None: the packaged one) and its labels file; raises `ConfigError`."""
    environment = os.environ if environment is None else environment
    main = ConfigFile(path if path is not None else default_config_directory() / "clapstream.yaml", environment)
    main.override(OVERRIDES, environment)
    keys = main.validate(MainFile, main.value)
    _check_sources(main)
    if keys is not None and keys.mqtt is not None:
        _check_login(main, keys.mqtt, environment)
    labels = _labels_file(main, environment)
    label_set = None if labels is None else _read_labels(labels, _window(main))
    problems = [problem for file in (main, labels) if file is not None for problem in file.sorted_problems()]
    if problems or keys is None or label_set is None:
        raise ConfigError(problems)
    shared = {name: getattr(keys, name) for name in type(keys).model_fields if name != "labels"}
    return Settings(labels=label_set, **shared)


def _names(entries: Any) -> dict[int, str]:
    """Names of a list's entries by index, as far as they have one."""
    named = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(name, str) and name.strip():
            named[index] = name
    return named


def _report_equal_slugs(file: ConfigFile, key: str, entries: Any) -> None:
    """Two names with one slug would share their topics."""
    first_with: dict[str, int] = {}
    for index, name in _names(entries).items():
        first = first_with.setdefault(slugify(name), index)
        if first != index:
            places = ((key, index), (key, index, "name"))
            may_show = all(map(file.may_show, places)) and not may_hold_credentials(name)
            slug = repr(slugify(name)) if may_show else HIDDEN
            what = f"gives the topic name {slug}, which {key}[{first}] has already; rename one of them"
            file.report((key, index, "name"), what)


def _check_sources(main: ConfigFile) -> None:
    entries = main.value.get("sources")
    _report_equal_slugs(main, "sources", entries)
    on_stdin = [
        index
        for index, entry in enumerate(entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and entry.get("type") == "pcm"
    ]
    for index in on_stdin[1:]:
        main.report(
            ("sources", index, "type"), f"sources[{on_stdin[0]}] reads standard input already; only one can"
        )


def _check_login(main: ConfigFile, mqtt: MqttSettings, environment: Mapping[str, str]) -> None:
    """User and password can be read, wherever they come from."""
    user = _login_part(main, "username", mqtt.user, environment)
    _login_part(main, "password_file", mqtt.password, environment)
    if user is None and mqtt.password_file is not None:
        main.report(("mqtt", "password_file"), "is given without a username")


def _login_part(
    main: ConfigFile,
    key: str,
    read: Callable[[Mapping[str, str]], str | None],
    environment: Mapping[str, str],
) -> str | None:
    try:
        return read(environment)
    except OSError as error:
        main.report(("mqtt", key), explain_unreadable(error))
    return ""


def _labels_file(main: ConfigFile, environment: Mapping[str, str]) -> ConfigFile | None:
    """The labels file that `main` names, None when what it names was reported as unusable."""
    value = main.value.get("labels")
    if value is None:
        return ConfigFile(default_config_directory() / "labels.yaml", environment)
    try:
        path = TypeAdapter(FilePath).validate_python(value, context=main.context)
    except ValidationError:
        return None
    return ConfigFile(path, environment)


def _window(main: ConfigFile) -> WindowSettings | None:
    """The window settings, None when they were reported as wrong."""
    try:
        return WindowSettings.model_validate(main.value.get("window") or {})
    except ValidationError:
        return None


def _read_labels(file: ConfigFile, window: WindowSettings | None) -> LabelSet | None:
    """The label set, defaults merged, or None after everything that is wrong with it was reported."""
    if not file.readable:
        return None
    keys = file.validate(LabelsFile, file.value)
    defaults = _usable_defaults(file)
    _check_confirmation(file, ("defaults", "confirm_windows"), defaults.get("confirm_windows"), window)
    entries = file.value.get("labels")
    labels = []
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        own = {"name": entry} if isinstance(entry, str) else entry
        merged = {**defaults, **own} if isinstance(own, dict) else own
        label = file.validate(LabelSettings, merged, at=("labels", index))
        if label is not None:
            labels.append(label)
        if isinstance(own, dict):
            _check_confirmation(file, ("labels", index, "confirm_windows"), own.get("confirm_windows"), window)
    _report_equal_slugs(file, "labels", entries)
    if file.problems or keys is None:
        return None
    return LabelSet(labels=tuple(labels), background=keys.background or _packaged_background())


def _usable_defaults(file: ConfigFile) -> dict[str, Value]:
    """What labels inherit; nothing when it was reported as wrong, so that no mistake shows once a label."""
    defaults = file.value.get("defaults")
    try:
        LabelDefaults.model_validate(defaults)
    except ValidationError:
        return {}
    return defaults if isinstance(defaults, dict) else {}


def _check_confirmation(file: ConfigFile, place: Location, windows: Any, window: WindowSettings | None) -> None:
    """No label can wait for more windows in a row than a short sound can lie in."""
    if window is None or not isinstance(windows, int) or windows <= window.windows_per_sound:
        return
    file.report(
        place,
        f"must be at most {window.windows_per_sound}, not {windows}: a short sound lies in no more windows of "
        f"{window.seconds:g} s that start every {window.hop_seconds:g} s",
    )


def _packaged_background() -> tuple[str, ...]:
    """Background prompts of the packaged labels file, for one that has none of its own."""
    packaged = ConfigFile(default_config_directory() / "labels.yaml", {})
    keys = packaged.validate(LabelsFile, packaged.value)
    if keys is None or keys.background is None:
        packaged.report(("background",), "is missing; the packaged labels file must have it")
        raise ConfigError(packaged.problems)
    return keys.background
