"""What can be set of a source: a microphone, a recording, a pipe or a network stream."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, TypeAdapter, ValidationInfo, field_validator

from clapstream.config.fields import Text, holds_credentials, tuple_from_list
from clapstream.config.paths import FilePath, SourceFilePath, sources_may_fail
from clapstream.config.plain_values import written_text
from clapstream.config.section import Section
from clapstream.config.stream_urls import SecretUrl, UrlFile, read_url
from clapstream.slugs import slugify

MOST_DEVICES = 1_000
MOST_CHANNELS = 1_024


def _is_index(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def _check_device(value: Any) -> Any:
    """Which sound card: None, an index or part of a name."""
    if isinstance(value, str) and holds_credentials(value):
        raise ValueError("must be a sound card, not a URL")
    if value is None or _is_index(value, MOST_DEVICES) or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError(
        "must be part of a device's name, its index from `clapstream devices`, or null for the default"
    )


def _on_or_off(value: Any) -> Any:
    """True or false, also written as on and off, which are text in YAML 1.2, or taken from a variable."""
    return {"on": True, "true": True, "off": False, "false": False}.get(str(value).lower(), value)


def _check_channel(value: Any) -> Any:
    """Which channel of a source: a word or an index."""
    if value in ("mix", "left", "right") or _is_index(value, MOST_CHANNELS):
        return value
    raise ValueError(f"must be mix, left, right or a channel index from 0 to {MOST_CHANNELS - 1}")


def _check_source_labels(value: Any, info: ValidationInfo) -> Any:
    """What one source listens for: None, a label file, or names out of the common labels."""
    value = written_text(tuple_from_list(value))
    if value is None:
        return None
    if value == ():
        raise ValueError("must name at least one label; null listens for the common labels")
    if isinstance(value, tuple):
        return _NAMES.validate_python(value, strict=True, context=info.context)
    if isinstance(value, (str, Path)):
        return _FILE.validate_python(value, strict=True, context=info.context)
    raise ValueError("must be a label file or a list of names of common labels")


_NAMES = TypeAdapter(tuple[Text, ...])
_FILE = TypeAdapter(FilePath)
SourceLabels = Annotated[Path | tuple[str, ...] | None, PlainValidator(_check_source_labels)]
Channel = Annotated[str | int, BeforeValidator(_check_channel)]


class _Source(Section):
    name: Text
    listening: Annotated[bool, BeforeValidator(_on_or_off)] = True
    """Until the source is switched over MQTT, which is remembered."""
    labels: SourceLabels = None
    """A label file, or names out of the common labels; None listens for the common labels."""

    @property
    def slug(self) -> str:
        """Topic-safe form of the name."""
        return slugify(self.name)


class MicrophoneSettings(_Source):
    """A sound card's input. `device` is part of its name or its index; None is the system's default."""

    type: Literal["microphone"] = "microphone"
    device: Annotated[str | int | None, BeforeValidator(_check_device)] = None
    channel: Channel = "mix"


class RecordingSettings(_Source):
    """A sound file, played in real time or as fast as possible."""

    type: Literal["recording"] = "recording"
    path: SourceFilePath
    pace: Literal["realtime", "fast"] = "realtime"
    loop: bool = False
    channel: Channel = "mix"


class PcmSettings(_Source):
    """Raw 16-bit little-endian samples on standard input; `live` if they are written as they are heard."""

    type: Literal["pcm"] = "pcm"
    rate_hz: int = Field(default=48_000, ge=1_000, le=768_000)
    channels: int = Field(default=1, ge=1, le=64)
    channel: Channel = "mix"
    live: bool = False

    @field_validator("channel")
    @classmethod
    def _check_channel_exists(cls, channel: str | int, info: ValidationInfo) -> str | int:
        index = {"mix": 0, "left": 0, "right": 1}[channel] if isinstance(channel, str) else channel
        channels = info.data.get("channels", index + 1)
        if index >= channels:
            raise ValueError(f"must be mix or an index below channels, which is {channels}: the first has index 0")
        return channel


class StreamSettings(_Source):
    """A network stream. The URL, given or read from `url_file`, may carry a password.

    It is None where its file cannot be used and sources may fail.
    """

    type: Literal["stream"] = "stream"
    url_file: UrlFile | None = None
    url: SecretUrl | None = Field(default=None, validate_default=True)
    channel: Channel = "mix"
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
        try:
            return read_url(url_file) if url is None else url
        except ValueError:
            if sources_may_fail(info):
                return None
            raise

    @field_validator("transport")
    @classmethod
    def _check_transport(cls, transport: str, info: ValidationInfo) -> str:
        url = info.data.get("url")
        scheme = url.get_secret_value().partition("://")[0].lower() if isinstance(url, SecretStr) else "rtsp"
        if transport != "auto" and scheme not in ("rtsp", "rtsps"):
            raise ValueError(f"{transport} is for rtsp:// URLs only; leave it out for others")
        return transport

    def read_url(self) -> str:
        """The URL, from its file if that could not be used so far; ValueError says what is wrong with it."""
        if self.url is None and self.url_file is not None:
            try:
                return read_url(self.url_file).get_secret_value()
            except ValueError as error:
                raise ValueError(f"url_file {error}") from None
        assert self.url is not None
        return self.url.get_secret_value()


SourceSettings = MicrophoneSettings | RecordingSettings | PcmSettings | StreamSettings
