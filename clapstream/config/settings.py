"""Every setting, as one tree of frozen models with their defaults, units and limits; `load_settings` reads it.

    Settings
        node, cache_directory, state_directory
        sources     MicrophoneSettings, RecordingSettings, PcmSettings or StreamSettings    source_settings.py
        model       ModelSettings                                                           model_settings.py
        window      WindowSettings                                                          model_settings.py
        gate        GateSettings                                                            model_settings.py
        labels      LabelSet of LabelSettings                                               label_settings.py
        mqtt        MqttSettings with TlsSettings and SpoolSettings                         mqtt_settings.py

With a validation context (`FileContext`) relative paths are resolved against the file that names them and must
exist; without one, as in `RecordingSettings(name="yard", path=Path("yard.flac"))`, they are taken as they are.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args

from pydantic import BeforeValidator, Field

from clapstream.config.fields import Text, check_mapping, defaults_when_empty, tuple_from_list
from clapstream.config.label_settings import LabelSet
from clapstream.config.model_settings import GateSettings, ModelSettings, WindowSettings
from clapstream.config.mqtt_settings import MqttSettings, SpoolSettings, TlsSettings
from clapstream.config.paths import DirectoryPath, FilePath, user_directory
from clapstream.config.section import Section
from clapstream.config.source_settings import MicrophoneSettings, SourceSettings, StreamSettings
from clapstream.slugs import slugify


def host_name_when_null(value: Any) -> Any:
    """The name of this machine, without its domain; `home` where it has none of its own."""
    if value is not None:
        return value
    name = socket.gethostname().partition(".")[0]
    # A container that was given no name has a random one, another each time that it is made.
    return "home" if name in ("", "localhost") or re.fullmatch(r"[0-9a-f]{12}", name) else name


class HasSlug(Protocol):
    """Anything that has a slug, such as a source."""

    @property
    def slug(self) -> str:
        """Topic-safe form of its name."""


class _MainKeys(Section):
    node: Annotated[Text, BeforeValidator(host_name_when_null)] = Field(default=None, validate_default=True)
    sources: Annotated[
        tuple[Annotated[SourceSettings, Field(discriminator="type"), BeforeValidator(check_mapping)], ...],
        BeforeValidator(tuple_from_list),
        Field(min_length=1),
    ] = (MicrophoneSettings(name="microphone"),)
    model: Annotated[ModelSettings, BeforeValidator(defaults_when_empty)] = ModelSettings()
    window: Annotated[WindowSettings, BeforeValidator(defaults_when_empty)] = WindowSettings()
    gate: Annotated[GateSettings, BeforeValidator(defaults_when_empty)] = GateSettings()
    mqtt: MqttSettings | None = MqttSettings()
    cache_directory: Annotated[
        DirectoryPath, BeforeValidator(user_directory("CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache"))
    ] = Field(default=None, validate_default=True)
    state_directory: Annotated[
        DirectoryPath, BeforeValidator(user_directory("STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state"))
    ] = Field(default=None, validate_default=True)

    @property
    def node_slug(self) -> str:
        """Topic-safe form of the node's name."""
        return slugify(self.node)


class MainFile(_MainKeys):
    """The keys of clapstream.yaml. `labels` None is the label set that comes with the package."""

    labels: FilePath | None = None


class Settings(_MainKeys):
    """Everything the daemon needs to know, labels included."""

    labels: LabelSet
    """The common labels: those of every source without labels of its own."""
    label_files: dict[Path, LabelSet] = Field(default_factory=dict)
    """The label files that sources name, by their path."""

    def labels_of(self, source: HasSlug) -> LabelSet:
        """What the source with this slug listens for; the common labels if these settings have no such source.

        Raises KeyError for a label or a label file that these settings lack, which those from files never do.
        """
        own = next((each.labels for each in self.sources if each.slug == source.slug), None)
        if own is None:
            return self.labels
        return self.label_files[own] if isinstance(own, Path) else self.labels.only(own)

    def restart_needed_for(self, changed: Settings) -> list[str]:
        """Keys in which other settings differ so that a restart is needed: in more than labels."""
        ours, theirs = (settings.model_copy(update=_without_labels(settings)) for settings in (self, changed))
        return [key for key in MainFile.model_fields if getattr(ours, key) != getattr(theirs, key)]

    def with_labels_of(self, changed: Settings) -> Settings:
        """These settings with the labels of others, for every source that both have."""
        own = {source.slug: source.labels for source in changed.sources}
        sources = tuple(
            source.model_copy(update={"labels": own.get(source.slug, source.labels)}) for source in self.sources
        )
        return self.model_copy(
            update={"labels": changed.labels, "label_files": changed.label_files, "sources": sources}
        )

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """Files that hold passwords and the URLs of cameras."""
        urls = [source.url_file for source in self.sources if isinstance(source, StreamSettings)]
        login = [] if self.mqtt is None else [self.mqtt.password_file]
        return tuple(path for path in (*login, *urls) if path is not None)


SECTIONS: dict[str, type[Section]] = {
    "": MainFile,
    **{f"sources.{source.model_fields['type'].default}": source for source in get_args(SourceSettings)},
    "model": ModelSettings,
    "window": WindowSettings,
    "gate": GateSettings,
    "mqtt": MqttSettings,
    "mqtt.tls": TlsSettings,
    "mqtt.spool": SpoolSettings,
}
"""The sections of clapstream.yaml by their dotted key; a source also has its type in it."""


def _without_labels(settings: Settings) -> dict[str, Any]:
    return {
        "labels": None,
        "sources": tuple(source.model_copy(update={"labels": None}) for source in settings.sources),
    }
