"""What can be set: frozen models with every default, unit and limit. `clapstream.config` reads them from files.

With a validation context (`FileContext`) relative paths are resolved against the file that names them and must
exist; without one, as in `RecordingSettings(name="yard", path=Path("yard.flac"))`, they are taken as they are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from clapstream.config.fields import (
    Revision,
    Text,
    check_mapping,
    check_model_device,
    defaults_when_empty,
    host_name_when_null,
    tuple_from_list,
)
from clapstream.config.label_settings import LabelSet
from clapstream.config.mqtt_settings import MqttSettings
from clapstream.config.paths import DirectoryPath, FilePath, check_checkpoint, user_directory
from clapstream.config.section import Section
from clapstream.config.source_settings import MicrophoneSettings, SourceSettings, StreamSettings
from clapstream.slugs import slugify

LONGEST_WINDOW_SECONDS = 10.0
"""CLAP was trained on 10 s: more would be cut off."""
SHORTEST_WINDOW_SECONDS = 0.5
SHORTEST_HOP_SECONDS = 0.1


class ModelSettings(Section):
    """Which checkpoint runs where. `revision` is a branch, tag or commit of a hub checkpoint."""

    checkpoint: Annotated[str, Field(min_length=1), BeforeValidator(check_checkpoint)] = "bundled"
    device: Annotated[str, BeforeValidator(check_model_device)] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    revision: Revision | None = None


class WindowSettings(Section):
    """The stretch of sound the model sees, and how often it looks."""

    seconds: float = Field(default=10.0, ge=SHORTEST_WINDOW_SECONDS, le=LONGEST_WINDOW_SECONDS)
    hop_seconds: float = Field(default=2.5, ge=SHORTEST_HOP_SECONDS, validate_default=True)

    @field_validator("hop_seconds")
    @classmethod
    def _check_hop(cls, hop_seconds: float, info: ValidationInfo) -> float:
        seconds = info.data.get("seconds")
        if seconds is not None and hop_seconds > seconds:
            allowed = f"allowed is {SHORTEST_HOP_SECONDS:g} to {seconds:g}"
            raise ValueError(f"{hop_seconds:g} is above window.seconds: sound would be skipped; {allowed}")
        return hop_seconds

    @property
    def windows_per_sound(self) -> int:
        """How many windows in a row a short sound can lie in at most."""
        return math.ceil(round(self.seconds / self.hop_seconds, 6))


class GateSettings(Section):
    """Whether windows that are certainly nothing pass unscored, and how sure that has to be."""

    enabled: bool = True
    margin_db: float = Field(default=3.0, ge=0.5, le=12.0)
    check_seconds: float = Field(default=30.0, ge=1.0, le=3600.0)


class HasSlug(Protocol):
    """A source, as it is known by."""

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

    @property
    def source_labels(self) -> dict[str, LabelSet]:
        """What each source listens for, by its slug."""
        return {source.slug: self.labels_of(source) for source in self.sources}

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


def _without_labels(settings: Settings) -> dict[str, Any]:
    return {
        "labels": None,
        "sources": tuple(source.model_copy(update={"labels": None}) for source in settings.sources),
    }
