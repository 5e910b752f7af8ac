"""Label files: which ones count, and what they say with their defaults merged."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from clapstream.config.advice import explain_unknown_label
from clapstream.config.file import ConfigFile
from clapstream.config.label_settings import LabelDefaults, LabelSet, LabelSettings, LabelsFile
from clapstream.config.model_settings import WindowSettings
from clapstream.config.paths import FilePath, default_config_directory
from clapstream.config.problems import ConfigError, dotted
from clapstream.config.source_settings import SourceLabels
from clapstream.config.validation_errors import given
from clapstream.config.yaml_reader import Location, Value
from clapstream.urls import may_hold_credentials


class LabelFiles:
    """The label files of a configuration, each read once: the common one, and those that sources name."""

    def __init__(self, main: ConfigFile, environment: Mapping[str, str]) -> None:
        self._main = main
        self._environment = environment
        self._window = _window_settings(main)
        self._read: dict[Path, tuple[ConfigFile, LabelSet | None]] = {}

    @property
    def files(self) -> list[ConfigFile]:
        """The files that were read, the common one first."""
        return [file for file, _ in self._read.values()]

    def read_common(self) -> LabelSet | None:
        """The common labels, None after everything that is wrong with them was reported."""
        value = self._main.value.get("labels")
        if value is None:
            return self._labels(default_config_directory() / "labels.yaml")
        try:
            path = TypeAdapter(FilePath).validate_python(value, context=self._main.context)
        except ValidationError:
            return None
        return self._labels(path)

    def read_of_sources(self, common: LabelSet | None) -> dict[Path, LabelSet]:
        """The labels of each file that a source names, which has the background of `common` if none of its own."""
        label_sets = {}
        for index, chosen in self._chosen().items():
            if isinstance(chosen, Path):
                if labels := self._labels(chosen, None if common is None else common.background):
                    label_sets[chosen] = labels
            elif common is not None:
                self._check_names(("sources", index, "labels"), chosen, common)
        return label_sets

    def _labels(self, path: Path, background: tuple[str, ...] | None = None) -> LabelSet | None:
        key = path.resolve()
        if key not in self._read:
            file = ConfigFile(path, self._environment)
            self._read[key] = file, read_labels(file, self._window, background)
        return self._read[key][1]

    def _chosen(self) -> dict[int, Path | tuple[str, ...]]:
        """The `labels` of sources that have them, by the index of the source; none that were reported as wrong."""
        chosen = {}
        entries = self._main.value.get("sources")
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            value = entry.get("labels") if isinstance(entry, dict) else None
            with contextlib.suppress(ValidationError):
                if labels := TypeAdapter(SourceLabels).validate_python(value, context=self._main.context):
                    chosen[index] = labels
        return chosen

    def _check_names(self, place: Location, names: tuple[str, ...], common: LabelSet) -> None:
        first_with: dict[str, int] = {}
        for index, name in enumerate(names):
            here = (*place, index)
            label = common.find(name)
            if label is None:
                shown = given(name) if self._main.may_show(here) and not may_hold_credentials(name) else ""
                instead = explain_unknown_label(name, self._names_to_show(common))
                self._main.report(here, f"must be the name of a common label{shown}; {instead}")
            elif (first := first_with.setdefault(label.slug, index)) != index:
                self._main.report(here, f"is given twice: {dotted((*place, first))} is the same label; keep one")

    def _names_to_show(self, common: LabelSet) -> list[str]:
        """Names of the common labels, without any from the environment."""
        file = self.files[0]
        return [
            label.name
            for index, label in enumerate(common.labels)
            if file.may_show(("labels", index)) and file.may_show(("labels", index, "name"))
        ]


def _window_settings(main: ConfigFile) -> WindowSettings | None:
    """The window settings, None when they were reported as wrong."""
    try:
        return WindowSettings.model_validate(main.value.get("window") or {})
    except ValidationError:
        return None


def read_labels(
    file: ConfigFile, window: WindowSettings | None, background: tuple[str, ...] | None = None
) -> LabelSet | None:
    """The label set, defaults merged, or None after everything that is wrong with it was reported.

    Without a background of its own it has `background`, or the packaged one.
    """
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
    return LabelSet(labels=tuple(labels), background=keys.background or background or _packaged_background())


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
