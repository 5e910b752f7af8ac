"""What can be set: frozen models with every default, unit and limit. `clapstream.config` reads them from files.

With a validation context (`FileContext`) relative paths are resolved against the file that names them and must
exist; without one, as in `RecordingSettings(name="yard", path=Path("yard.flac"))`, they are taken as they are.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from clapstream.config.fields import (
    DirectoryPath,
    FilePath,
    HostName,
    Score,
    SecretUrl,
    Text,
    Topic,
    check_channel,
    check_checkpoint,
    check_device,
    check_model_device,
    check_websocket_path,
    defaults_when_empty,
    host_name_when_null,
    tls_or_none,
    tuple_from_list,
    user_directory,
)
from clapstream.slugs import slugify

LONGEST_WINDOW_SECONDS = 10.0
"""CLAP was trained on 10 s: more would be cut off."""
SHORTEST_WINDOW_SECONDS = 0.5
SHORTEST_HOP_SECONDS = 0.1


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, no silent conversions, no values in error texts."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class _Source(Section):
    name: Text

    @property
    def slug(self) -> str:
        """Topic-safe form of the name."""
        return slugify(self.name)


class MicrophoneSettings(_Source):
    """A sound card's input. `device` is part of its name or its index; None is the system's default."""

    type: Literal["microphone"] = "microphone"
    device: Annotated[str | int | None, BeforeValidator(check_device)] = None
    channel: Annotated[str | int, BeforeValidator(check_channel)] = "mix"


class RecordingSettings(_Source):
    """A sound file, played in real time or as fast as possible."""

    type: Literal["recording"] = "recording"
    path: FilePath
    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = False


class PcmSettings(_Source):
    """Raw 16-bit little-endian samples on standard input."""

    type: Literal["pcm"] = "pcm"
    rate_hz: int = Field(default=48_000, ge=1_000, le=768_000)
    channels: int = Field(default=1, ge=1, le=64)


class StreamSettings(_Source):
    """A network stream. The URL may carry a password or a token: it shows only through `shown_url`."""

    type: Literal["stream"] = "stream"
    url: SecretUrl

    @property
    def shown_url(self) -> str:
        """The URL without user, password, query and fragment: safe to log."""
        scheme, _, rest = self.url.get_secret_value().partition("://")
        # The last @, wherever it is: a password may hold any of the characters that should be escaped.
        address = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
        return f"{scheme}://{address}"


SourceSettings = MicrophoneSettings | RecordingSettings | PcmSettings | StreamSettings


class ModelSettings(Section):
    """Which checkpoint runs where. `revision` is a branch, tag or commit of a hub checkpoint."""

    checkpoint: Annotated[str, Field(min_length=1), BeforeValidator(check_checkpoint)] = "bundled"
    device: Annotated[str, BeforeValidator(check_model_device)] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    revision: str | None = None


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


class LabelDefaults(Section):
    """What a label inherits: thresholds (0..1), windows in a row that confirm it, seconds it holds on.

    `always_score` turns the gate off: no window may then be taken for nothing without being scored.
    """

    start: Score = 0.6
    stop: Score = Field(default=0.4, validate_default=True)
    confirm_windows: int = Field(default=1, ge=1)
    hold_seconds: float = Field(default=5.0, ge=0.0, le=3600.0)
    always_score: bool = False

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: float, info: ValidationInfo) -> float:
        start = info.data.get("start")
        if start is not None and stop >= start:
            raise ValueError(f"must be below start ({start:g})")
        return stop


class LabelSettings(LabelDefaults):
    """A label. Without prompts its name is the prompt, put into templates."""

    name: Text
    prompts: Annotated[tuple[Text, ...], BeforeValidator(tuple_from_list)] = ()

    @property
    def slug(self) -> str:
        """Topic-safe form of the name."""
        return slugify(self.name)


BackgroundPrompts = Annotated[tuple[Text, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]


class LabelSet(Section):
    """The labels, and the prompts for everything that is not a label."""

    labels: Annotated[tuple[LabelSettings, ...], Field(min_length=1)]
    background: BackgroundPrompts


class TlsSettings(Section):
    """TLS to the broker. `ca_file` None trusts the system's authorities.

    The certificate must be for `server_name`, or for the host where that is None, unless
    `insecure_skip_host_check` is set.
    """

    ca_file: Annotated[FilePath | None, BeforeValidator(lambda value: None if value == "system" else value)] = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = Field(default=None, validate_default=True)
    server_name: HostName | None = None
    insecure_skip_host_check: bool = False

    @field_validator("key_file")
    @classmethod
    def _check_pair(cls, key_file: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (info.data["cert_file"] is None) != (key_file is None):
            raise ValueError("cert_file and key_file must be given together")
        return key_file


class SpoolSettings(Section):
    """How much is kept on disk for a broker that is away; the oldest goes first."""

    max_messages: int = Field(default=10_000, ge=0, le=10_000_000)
    max_age_seconds: float = Field(default=7 * 86_400.0, ge=0.0)


class MqttSettings(Section):
    """The broker. The password is no field: `password()` fetches it where it is used."""

    host: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s/@]+$")] = "localhost"
    port: int = Field(default=1883, ge=1, le=65_535)
    username: str | None = None
    password_file: FilePath | None = Field(default=None, validate_default=True)
    base_topic: Topic = "clapstream"
    discovery_prefix: Topic = "homeassistant"
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(lambda value: "5" if value == 5 else value)] = "5"
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: Annotated[str, BeforeValidator(check_websocket_path)] = "/mqtt"
    keepalive_seconds: int = Field(default=30, ge=5, le=3600)
    tls: Annotated[TlsSettings | None, BeforeValidator(tls_or_none)] = None
    spool: Annotated[SpoolSettings, BeforeValidator(defaults_when_empty)] = SpoolSettings()

    @field_validator("password_file")
    @classmethod
    def _check_password_file(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        if password_file is not None and info.data.get("username", "") is None:
            raise ValueError("is given without a username")
        return password_file

    def password(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The password from `password_file`, $CLAPSTREAM_MQTT_PASSWORD or systemd's credential `mqtt_password`.

        Read anew on each call, so that a changed file counts at the next connect. Raises OSError and
        UnicodeDecodeError for a file that cannot be read.
        """
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        return environment.get("CLAPSTREAM_MQTT_PASSWORD") or _credential("mqtt_password", environment)

    def user(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Who logs in: `username`, else systemd's credential `mqtt_username`; raises as `password` does."""
        return self.username if self.username is not None else _credential("mqtt_username", environment)


def _credential(name: str, environment: Mapping[str, str]) -> str | None:
    """A credential that systemd handed over, see systemd.exec(5); None if there is none of that name."""
    path = Path(environment.get("CREDENTIALS_DIRECTORY", "/nonexistent"), name)
    return path.read_text(encoding="utf-8").rstrip("\r\n") if path.is_file() else None


class _MainKeys(Section):
    node: Annotated[Text, BeforeValidator(host_name_when_null)] = Field(default=None, validate_default=True)
    sources: Annotated[
        tuple[Annotated[SourceSettings, Field(discriminator="type")], ...],
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


class LabelsFile(Section):
    """The keys of labels.yaml, entries still as they were written. Without `background` the packaged one counts."""

    defaults: Annotated[LabelDefaults, BeforeValidator(defaults_when_empty)] = LabelDefaults()
    labels: Annotated[tuple[Any, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]
    background: BackgroundPrompts | None = None
