"""What can be set of a source: a microphone, a recording, a pipe or a network stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from clapstream.config.fields import (
    SecretUrl,
    SourceLabels,
    Text,
    UrlFile,
    check_channel,
    check_device,
    on_or_off,
    read_url,
)
from clapstream.config.paths import SourceFilePath, sources_may_fail
from clapstream.config.section import Section
from clapstream.slugs import slugify


class _Source(Section):
    name: Text
    listening: Annotated[bool, BeforeValidator(on_or_off)] = True
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
    device: Annotated[str | int | None, BeforeValidator(check_device)] = None
    channel: Annotated[str | int, BeforeValidator(check_channel)] = "mix"


class RecordingSettings(_Source):
    """A sound file, played in real time or as fast as possible."""

    type: Literal["recording"] = "recording"
    path: SourceFilePath
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
            raise ValueError(f"must be mix or an index below channels, which is {channels}: the first has index 0")
        return channel


class StreamSettings(_Source):
    """A network stream. The URL, given or read from `url_file`, may carry a password.

    It is None where its file cannot be used and sources may fail.
    """

    type: Literal["stream"] = "stream"
    url_file: UrlFile | None = None
    url: SecretUrl | None = Field(default=None, validate_default=True)
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
