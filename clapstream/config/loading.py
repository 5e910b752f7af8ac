"""Reads clapstream.yaml, its label files and a few environment variables into `Settings`.

Every mistake in any of the files is found in one go; each problem names the file, the line, the field and what is
allowed there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from clapstream.config.file import ConfigFile
from clapstream.config.label_files import LabelFiles
from clapstream.config.mqtt_settings import MqttSettings
from clapstream.config.paths import default_config_directory
from clapstream.config.problems import ConfigError
from clapstream.config.secret_files import explain_unreadable
from clapstream.config.settings import MainFile, Settings

OVERRIDES = {
    "CLAPSTREAM_MODEL_DEVICE": ("model", "device"),
    "CLAPSTREAM_MQTT_HOST": ("mqtt", "host"),
    "CLAPSTREAM_MQTT_PORT": ("mqtt", "port"),
    "CLAPSTREAM_MQTT_USERNAME": ("mqtt", "username"),
}
"""Environment variables that win over clapstream.yaml: what differs between containers that share one file."""


def load_settings(
    path: Path | None = None, environment: Mapping[str, str] | None = None, *, sources_may_fail: bool = False
) -> Settings:
    """Read a clapstream.yaml (None: the packaged one) and its label files; raises `ConfigError`.

    With `sources_may_fail` some sources, not all, may lack their recording or the file of their URL: they then fail
    as they are opened. A missing label file is always an error: without it the source would be announced with
    labels that are not its own.
    """
    environment = os.environ if environment is None else environment
    path = path if path is not None else default_config_directory() / "clapstream.yaml"
    try:
        return _load(path, environment)
    except ConfigError as error:
        if not sources_may_fail:
            raise
        settings = _load(path, environment, sources_may_fail=True)
        failing = {problem.field.partition(".")[0] for problem in error.problems}
        if len(failing) == len(settings.sources):
            raise
    return settings


def _load(path: Path, environment: Mapping[str, str], *, sources_may_fail: bool = False) -> Settings:
    main = ConfigFile(path, environment, sources_may_fail=sources_may_fail)
    main.override(OVERRIDES, environment)
    keys = main.validate(MainFile, main.value)
    _check_sources(main)
    if keys is not None and keys.mqtt is not None:
        _check_login(main, keys.mqtt, environment)
    label_files = LabelFiles(main, environment)
    common = label_files.read_common()
    of_sources = label_files.read_of_sources(common)
    problems = [problem for file in (main, *label_files.files) for problem in file.sorted_problems()]
    if problems or keys is None or common is None:
        raise ConfigError(problems)
    shared = {name: getattr(keys, name) for name in type(keys).model_fields if name != "labels"}
    return Settings(labels=common, label_files=of_sources, **shared)


def _check_sources(main: ConfigFile) -> None:
    entries = main.value.get("sources")
    main.report_equal_slugs("sources")
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
