"""What can be set: frozen models with every default, unit and limit. `clapstream.config` reads them from files.

With a validation context (`FileContext`) relative paths are resolved against the file that names them and must
exist; without one, as in `RecordingSettings(name="yard", path=Path("yard.flac"))`, they are taken as they are.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from clapstream.slugs import slugify

LONGEST_WINDOW_SECONDS = 10.0
"""CLAP was trained on 10 s: more would be cut off."""
SHORTEST_WINDOW_SECONDS = 0.5
SHORTEST_HOP_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class FileContext:
    """Where settings come from: relative paths are meant from `directory`."""

    directory: Path


def _clean_text(text: str) -> str:
    """Control characters, which could move a terminal's cursor, and runs of white space become one space."""
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    cleaned = " ".join(visible.split())
    if not cleaned:
        raise ValueError("must not be empty")
    return cleaned


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _defaults_when_empty(value: Any) -> Any:
    """A section whose keys are all commented out reads as null: it means the defaults."""
    return {} if value is None else value


def _resolve(value: Any, info: ValidationInfo) -> Any:
    """Path from text, relative to the file that names it."""
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("must be a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("starts with ~, but there is no such home directory") from error
    return info.context.directory / path if isinstance(info.context, FileContext) else path


def _must_be_file(path: Path, info: ValidationInfo) -> Path:
    if isinstance(info.context, FileContext) and not path.is_file():
        raise ValueError(f"{path} " + ("is a directory; a file is needed" if path.is_dir() else "does not exist"))
    return path


Text = Annotated[str, Field(max_length=1000), AfterValidator(_clean_text)]
FilePath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_must_be_file)]
DirectoryPath = Annotated[Path, BeforeValidator(_resolve)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]


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


def _check_device(value: Any) -> Any:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(
        "must be part of a device's name, its index from `clapstream devices`, or null for the default"
    )


def _check_channel(value: Any) -> Any:
    if value in ("mix", "left", "right") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError("must be mix, left, right or a channel index from 0")


class MicrophoneSettings(_Source):
    """A sound card's input. `device` is part of its name or its index; None is the system's default."""

    type: Literal["microphone"] = "microphone"
    device: Annotated[str | int | None, BeforeValidator(_check_device)] = None
    channel: Annotated[str | int, BeforeValidator(_check_channel)] = "mix"


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
    url: Annotated[SecretStr, BeforeValidator(lambda value: SecretStr(value) if isinstance(value, str) else value)]

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\x00-\x1f]+", url.get_secret_value(), re.IGNORECASE):
            raise ValueError("must be a URL such as rtsp://camera/1")
        return url

    @property
    def shown_url(self) -> str:
        """The URL without user, password, query and fragment: safe to log."""
        scheme, _, rest = self.url.get_secret_value().partition("://")
        address = re.split(r"[?#]", rest, maxsplit=1)[0]
        host, slash, path = address.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


SourceSettings = MicrophoneSettings | RecordingSettings | PcmSettings | StreamSettings


def _check_checkpoint(value: Any, info: ValidationInfo) -> Any:
    """`bundled`, a directory (made absolute when it comes from a file) or a hub id."""
    if not isinstance(value, str) or value == "bundled" or not isinstance(info.context, FileContext):
        return value
    path = _resolve(value, info)
    if path.is_dir():
        return str(path)
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", value):
        return value
    allowed = "bundled, a directory or a hub id such as laion/clap-htsat-unfused"
    raise ValueError(f"{path} is not a directory; allowed is {allowed}")


def _check_model_device(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        return value
    raise ValueError("must be auto, cpu, cuda, cuda:1, mps or xpu")


class ModelSettings(Section):
    """Which checkpoint runs where. `revision` is a branch, tag or commit of a hub checkpoint."""

    checkpoint: Annotated[str, Field(min_length=1), BeforeValidator(_check_checkpoint)] = "bundled"
    device: Annotated[str, BeforeValidator(_check_model_device)] = "auto"
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


class LabelDefaults(Section):
    """What a label inherits: thresholds (0..1), windows in a row that confirm it, seconds it holds on."""

    start: Score = 0.6
    stop: Score = Field(default=0.4, validate_default=True)
    confirm_windows: int = Field(default=1, ge=1)
    hold_seconds: float = Field(default=5.0, ge=0.0, le=3600.0)

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
    prompts: Annotated[tuple[Text, ...], BeforeValidator(_tuple_from_list)] = ()

    @property
    def slug(self) -> str:
        """Topic-safe form of the name."""
        return slugify(self.name)


BackgroundPrompts = Annotated[tuple[Text, ...], BeforeValidator(_tuple_from_list), Field(min_length=1)]


class LabelSet(Section):
    """The labels, and the prompts for everything that is not a label."""

    labels: Annotated[tuple[LabelSettings, ...], Field(min_length=1)]
    background: BackgroundPrompts


class TlsSettings(Section):
    """TLS to the broker. `ca_file` None trusts the system's authorities; the host name is always checked."""

    ca_file: Annotated[FilePath | None, BeforeValidator(lambda value: None if value == "system" else value)] = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = Field(default=None, validate_default=True)

    @field_validator("key_file")
    @classmethod
    def _check_pair(cls, key_file: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (info.data["cert_file"] is None) != (key_file is None):
            raise ValueError("cert_file and key_file must be given together")
        return key_file


def _tls_or_none(value: Any) -> Any:
    """`{ca_file: null, cert_file: null, key_file: null}`, the written-out default, is no TLS."""
    if value == {}:
        raise ValueError("must name ca_file: a file, or system for the system's authorities; null is no TLS")
    return None if isinstance(value, dict) and all(item is None for item in value.values()) else value


def _check_topic(topic: str) -> str:
    if topic.startswith(("/", "$")) or topic.endswith("/") or not re.fullmatch(r"[^\s#+\x00-\x1f\x7f]+", topic):
        raise ValueError("must be a topic without spaces, #, +, a leading $, or a slash at either end")
    return topic


Topic = Annotated[str, Field(max_length=200), AfterValidator(_check_topic)]


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
    keepalive_seconds: int = Field(default=30, ge=5, le=3600)
    tls: Annotated[TlsSettings | None, BeforeValidator(_tls_or_none)] = None
    spool: Annotated[SpoolSettings, BeforeValidator(_defaults_when_empty)] = SpoolSettings()

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
        if "CLAPSTREAM_MQTT_PASSWORD" in environment:
            return environment["CLAPSTREAM_MQTT_PASSWORD"]
        credential = Path(environment.get("CREDENTIALS_DIRECTORY", "/nonexistent"), "mqtt_password")
        return credential.read_text(encoding="utf-8").rstrip("\r\n") if credential.is_file() else None


def _user_directory(variable: str, xdg_variable: str, home_part: str) -> Path:
    """Where systemd says, else where the XDG base directory specification says."""
    if from_systemd := os.environ.get(variable):
        return Path(from_systemd.partition(":")[0])
    from_xdg = os.environ.get(xdg_variable, "")
    parent = Path(from_xdg) if from_xdg.startswith("/") else Path.home() / home_part
    return parent / "clapstream"


def default_cache_directory() -> Path:
    """Directory for what can be computed again; raises RuntimeError where there is no home directory."""
    return _user_directory("CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache")


def default_state_directory() -> Path:
    """Directory for what must survive a restart; raises RuntimeError where there is no home directory."""
    return _user_directory("STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state")


def _or_else(default: Callable[[], Path]) -> Callable[[Any], Any]:
    """Validator that puts a default in the place of null."""

    def default_when_null(value: Any) -> Any:
        return default() if value is None else value

    return default_when_null


class _MainKeys(Section):
    node: Text = "home"
    sources: Annotated[
        tuple[Annotated[SourceSettings, Field(discriminator="type")], ...],
        BeforeValidator(_tuple_from_list),
        Field(min_length=1),
    ] = (MicrophoneSettings(name="microphone"),)
    model: Annotated[ModelSettings, BeforeValidator(_defaults_when_empty)] = ModelSettings()
    window: Annotated[WindowSettings, BeforeValidator(_defaults_when_empty)] = WindowSettings()
    mqtt: MqttSettings | None = MqttSettings()
    cache_directory: Annotated[DirectoryPath, BeforeValidator(_or_else(default_cache_directory))] = Field(
        default_factory=default_cache_directory
    )
    state_directory: Annotated[DirectoryPath, BeforeValidator(_or_else(default_state_directory))] = Field(
        default_factory=default_state_directory
    )

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

    defaults: Annotated[LabelDefaults, BeforeValidator(_defaults_when_empty)] = LabelDefaults()
    labels: Annotated[tuple[Any, ...], BeforeValidator(_tuple_from_list), Field(min_length=1)]
    background: BackgroundPrompts | None = None
