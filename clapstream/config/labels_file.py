"""The labels file: which one counts, and what it says with its defaults merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clapstream.config.file import ConfigFile
from clapstream.config.label_settings import LabelDefaults, LabelSet, LabelSettings, LabelsFile
from clapstream.config.paths import FilePath, default_config_directory
from clapstream.config.problems import ConfigError
from clapstream.config.settings import WindowSettings
from clapstream.config.yaml_reader import Location, Value


def labels_file(main: ConfigFile, environment: Mapping[str, str]) -> ConfigFile | None:
    """The labels file that `main` names, None when what it names was reported as unusable."""
    value = main.value.get("labels")
    if value is None:
        return ConfigFile(default_config_directory() / "labels.yaml", environment)
    try:
        path = TypeAdapter(FilePath).validate_python(value, context=main.context)
    except ValidationError:
        return None
    return ConfigFile(path, environment)


def window_settings(main: ConfigFile) -> WindowSettings | None:
    """The window settings, None when they were reported as wrong."""
    try:
        return WindowSettings.model_validate(main.value.get("window") or {})
    except ValidationError:
        return None


def read_labels(file: ConfigFile, window: WindowSettings | None) -> LabelSet | None:
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
    file.report_equal_slugs("labels")
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
