"""What can be set: frozen models with every default, unit and limit. `clapstream.config` reads them from files.

With a validation context (`FileContext`) relative paths are resolved against the file that names them and must
exist; without one, as in `RecordingSettings(name="yard", path=Path("yard.flac"))`, they are taken as they are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from clapstream.config.fields import (
    Host,
    Revision,
    Score,
    SecretUrl,
    Text,
    Topic,
    UrlFile,
    Username,
    check_channel,
    check_device,
    check_mapping,
    check_model_device,
    check_websocket_path,
    defaults_when_empty,
    host_name_when_null,
    read_url,
    tls_or_none,
    tuple_from_list,
)
from clapstream.config.paths import DirectoryPath, FilePath, check_checkpoint, user_directory
from clapstream.config.secret_files import credential, read_secret
from clapstream.slugs import slugify
from clapstream.urls import shown_url

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
    listening: bool = True
    """Until the source is switched over MQTT, which is remembered."""

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
    channel: Annotated[str | int, BeforeValidator(check_channel)] = "mix"


class PcmSettings(_Source):
    """Raw 16-bit little-endian samples on standard input; `live` if they are written as they are heard."""

    type: Literal["pcm"] = "pcm"
    rate_hz: int = Field(default=48_000, ge=1_000, le=768_000)
    channels: int = Field(default=1, ge=1, le=64)
    channel: Annotated[str | int, BeforeValidator(check_channel)] = "mix"
    live: bool = False

    @field_validator("channel")
    @classmethod
    def _check_channel_exists(cls, channel: str | int, info: ValidationInfo) -> str | int:
        index = {"mix": 0, "left": 0, "right": 1}[channel] if isinstance(channel, str) else channel
        channels = info.data.get("channels", index + 1)
        if index >= channels:
            raise ValueError(f"there is no channel {channel}: channels is {channels}")
        return channel


class StreamSettings(_Source):
    """A network stream. The URL, given or read from `url_file`, may carry a password: see `shown_url`."""

    type: Literal["stream"] = "stream"
    url_file: UrlFile | None = None
    url: SecretUrl = Field(default=None, validate_default=True)
    channel: Annotated[str | int, BeforeValidator(check_channel)] = "mix"
    transport: Literal["auto", "tcp", "udp"] = "auto"

    @field_validator("url", mode="before")
    @classmethod
    def _url_or_file(cls, url: Any, info: ValidationInfo) -> Any:
        if "url_file" not in info.data:  # reported as wrong: any URL will do
            return "rtsp://camera" if url is None else url
        url_file = info.data["url_file"]
        if url is None and url_file is None:
            raise ValueError("is missing; give url, or url_file: a file that holds it")
        if url is not None and url_file is not None:
            raise ValueError("is given together with url_file; keep one of them")
        return read_url(url_file) if url is None else url

    @field_validator("transport")
    @classmethod
    def _check_transport(cls, transport: str, info: ValidationInfo) -> str:
        url = info.data.get("url")
        scheme = url.get_secret_value().partition("://")[0].lower() if isinstance(url, SecretStr) else "rtsp"
        if transport != "auto" and scheme not in ("rtsp", "rtsps"):
            raise ValueError(f"{transport} is for rtsp:// URLs only; leave it out for others")
        return transport

    @property
    def shown_url(self) -> str:
        """Scheme, host and port of the URL: safe to log."""
        return shown_url(self.url.get_secret_value())


SourceSettings = MicrophoneSettings | RecordingSettings | PcmSettings | StreamSettings


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
    server_name: Host | None = None
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
    max_age_seconds: float = Field(default=7 * 86_400.0, ge=0.0, le=3650 * 86_400.0)


class MqttSettings(Section):
    """The broker. The password is no field: `password()` fetches it where it is used."""

    host: Host = "localhost"
    port: int = Field(default=1883, ge=1, le=65_535)
    username: Username | None = Field(default=None, repr=False)
    password_file: FilePath | None = None
    base_topic: Topic = "clapstream"
    discovery_prefix: Topic = "homeassistant"
    protocol: Annotated[Literal["5", "3.1.1"], BeforeValidator(lambda value: "5" if value == 5 else value)] = "5"
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: Annotated[str, BeforeValidator(check_websocket_path)] = "/mqtt"
    keepalive_seconds: int = Field(default=30, ge=5, le=3600)
    tls: Annotated[TlsSettings | None, BeforeValidator(tls_or_none)] = None
    spool: Annotated[SpoolSettings, BeforeValidator(defaults_when_empty)] = SpoolSettings()

    @property
    def address(self) -> str:
        """Host and port, as messages show them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def password(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The password from `password_file`, $CLAPSTREAM_MQTT_PASSWORD or systemd's credential `mqtt_password`.

        Read anew on each call, so that a changed file counts at the next connect. Raises OSError for a file that
        cannot be read.
        """
        if self.password_file is not None:
            return read_secret(self.password_file)
        return environment.get("CLAPSTREAM_MQTT_PASSWORD") or credential("mqtt_password", environment)

    def user(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Who logs in: `username`, else systemd's credential `mqtt_username`; raises as `password` does."""
        return self.username if self.username is not None else credential("mqtt_username", environment)


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

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """Files that hold passwords and the URLs of cameras."""
        urls = [source.url_file for source in self.sources if isinstance(source, StreamSettings)]
        login = [] if self.mqtt is None else [self.mqtt.password_file]
        return tuple(path for path in (*login, *urls) if path is not None)


class LabelsFile(Section):
    """The keys of labels.yaml, entries still as they were written. Without `background` the packaged one counts."""

    defaults: Annotated[LabelDefaults, BeforeValidator(defaults_when_empty)] = LabelDefaults()
    labels: Annotated[tuple[Any, ...], BeforeValidator(tuple_from_list), Field(min_length=1)]
    background: BackgroundPrompts | None = None
