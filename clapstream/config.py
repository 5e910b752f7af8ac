"""Reads the configuration: two YAML files and a few environment variables become `Settings`, or all that is wrong.

Everything that is wrong in either file is found in one go; each problem names the file, the line, the field and
what is allowed there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from clapstream.fields import FileContext, FilePath
from clapstream.problems import ConfigError, Problem, dotted, explain
from clapstream.settings import (
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
    Section,
    Settings,
    SourceSettings,
    SpoolSettings,
    StreamSettings,
    TlsSettings,
    WindowSettings,
)
from clapstream.slugs import slugify
from clapstream.yaml_reader import Document, Location, UnreadableError, Value, read_yaml

__all__ = [
    "ConfigError",
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

SectionType = TypeVar("SectionType", bound=Section)


def default_config_directory() -> Path:
    """Directory of the default clapstream.yaml and labels.yaml: in the wheel, or in the source tree."""
    package = Path(__file__).parent
    packaged = package / "default_config"
    return packaged if packaged.is_dir() else package.parent / "config"


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a clapstream.yaml (None: the packaged one) and its labels file; raises `ConfigError`."""
    environment = os.environ if environment is None else environment
    main = _File(path if path is not None else default_config_directory() / "clapstream.yaml")
    main.override(environment)
    keys = main.validate(MainFile, main.value)
    _check_sources(main)
    if keys is not None and keys.mqtt is not None:
        _check_password(main, keys.mqtt, environment)
    labels = _labels_file(main)
    label_set = None if labels is None else _read_labels(labels, _window(main))
    problems = [problem for file in (main, labels) if file is not None for problem in file.sorted_problems()]
    if problems or keys is None or label_set is None:
        raise ConfigError(problems)
    shared = {name: getattr(keys, name) for name in type(keys).model_fields if name != "labels"}
    return Settings(labels=label_set, **shared)


class _File:
    """One configuration file: what it says and what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._overridden: dict[Location, str] = {}
        self._document = Document({})
        self.readable = True
        try:
            self._document = read_yaml(path)
        except UnreadableError as error:
            self.readable = False
            self.report((), str(error))
        self.value = self._mapping()

    @property
    def context(self) -> FileContext:
        """What relative paths in this file are relative to."""
        return FileContext(self.path.absolute().parent)

    def report(self, location: Location, message: str) -> None:
        """Note a problem at a location in this file, or at the environment variable that was put there."""
        if location in self._overridden:
            self.problems.append(Problem("environment", self._overridden[location], message))
            return
        nearest = location
        while nearest and nearest not in self._document.lines:
            nearest = nearest[:-1]
        line = self._document.lines.get(nearest) if location else None
        self.problems.append(Problem(str(self.path), dotted(location), message, line))

    def sorted_problems(self) -> list[Problem]:
        """What is wrong, in the order of the lines."""
        return sorted(self.problems, key=lambda problem: problem.line or 0)

    def override(self, environment: Mapping[str, str]) -> None:
        """Put the values of `OVERRIDES` in place; a section that is null (`mqtt: null`) stays so."""
        for variable, (section, key) in OVERRIDES.items():
            if variable not in environment:
                continue
            part = self.value.setdefault(section, {})
            if isinstance(part, dict):
                text = environment[variable]
                part[key] = int(text) if text.isdecimal() and len(text) < 20 else text
                self._overridden[section, key] = variable

    def validate(self, model: type[SectionType], value: Any, at: Location = ()) -> SectionType | None:
        """Validated section, or None after everything that is wrong with it was reported."""
        try:
            return model.model_validate(value, context=self.context)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                known = _known_keys(model, details["loc"][:-1]) if details["type"] == "extra_forbidden" else ()
                self.report(at + _location(details), explain(details, known))
        return None

    def _mapping(self) -> dict[str, Value]:
        for location, message in self._document.problems:
            self.report(location, message)
        value = self._document.value
        if isinstance(value, dict):
            return value
        if value is not None:
            self.report((), "must be a mapping of keys to values at the top")
        return {}


_SECTIONS: dict[str, type[Section]] = {
    "model": ModelSettings,
    "window": WindowSettings,
    "mqtt": MqttSettings,
    "tls": TlsSettings,
    "spool": SpoolSettings,
    "defaults": LabelDefaults,
    **{source.model_fields["type"].default: source for source in get_args(SourceSettings)},
}
"""Sections by the key, or the type of source, that leads to them."""


def _known_keys(model: type[Section], parent: Location) -> list[str]:
    """Keys that are allowed at `parent`, a location as pydantic gives it."""
    section = _SECTIONS[str(parent[-1])] if parent else model
    return list(section.model_fields)


def _location(error: ErrorDetails) -> Location:
    """Where an error is in the file: pydantic puts the type of a source after its index."""
    location = error["loc"]
    if error["type"].startswith("union_tag"):
        return (*location, "type")
    if location[:1] == ("sources",) and len(location) > 2:
        return location[:2] + location[3:]
    return location


def _names(entries: Any) -> dict[int, str]:
    """Names of a list's entries by index, as far as they have one."""
    named = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(name, str) and name.strip():
            named[index] = name
    return named


def _report_equal_slugs(file: _File, key: str, entries: Any) -> None:
    """Two names with one slug would share their topics."""
    first_with: dict[str, int] = {}
    for index, name in _names(entries).items():
        first = first_with.setdefault(slugify(name), index)
        if first != index:
            what = f"gives the topic name {slugify(name)!r}, which {key}[{first}] has already; rename one of them"
            file.report((key, index, "name"), what)


def _check_sources(main: _File) -> None:
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


def _check_password(main: _File, mqtt: MqttSettings, environment: Mapping[str, str]) -> None:
    try:
        mqtt.password(environment)
    except OSError as error:
        main.report(("mqtt", "password_file"), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        main.report(("mqtt", "password_file"), "is not UTF-8 text")


def _labels_file(main: _File) -> _File | None:
    """The labels file that `main` names, None when what it names was reported as unusable."""
    value = main.value.get("labels")
    if value is None:
        return _File(default_config_directory() / "labels.yaml")
    try:
        return _File(TypeAdapter(FilePath).validate_python(value, context=main.context))
    except ValidationError:
        return None


def _window(main: _File) -> WindowSettings | None:
    """The window settings, None when they were reported as wrong."""
    try:
        return WindowSettings.model_validate(main.value.get("window") or {})
    except ValidationError:
        return None


def _read_labels(file: _File, window: WindowSettings | None) -> LabelSet | None:
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


def _usable_defaults(file: _File) -> dict[str, Value]:
    """What labels inherit; nothing when it was reported as wrong, so that no mistake shows once a label."""
    defaults = file.value.get("defaults")
    try:
        LabelDefaults.model_validate(defaults)
    except ValidationError:
        return {}
    return defaults if isinstance(defaults, dict) else {}


def _check_confirmation(file: _File, place: Location, windows: Any, window: WindowSettings | None) -> None:
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
    packaged = _File(default_config_directory() / "labels.yaml")
    keys = packaged.validate(LabelsFile, packaged.value)
    if keys is None or keys.background is None:
        packaged.report(("background",), "is missing; the packaged labels file must have it")
        raise ConfigError(packaged.problems)
    return keys.background
