"""What can be set of the connection to the broker."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from clapstream.config.addresses import check_broker_host
from clapstream.config.fields import FromNumber, defaults_when_empty, holds_credentials
from clapstream.config.paths import FilePath
from clapstream.config.secret_files import credential, read_secret
from clapstream.config.section import Section


def _check_username(username: str) -> str:
    if not username:
        raise ValueError("must not be empty; null logs in without a user name")
    if "://" in username:
        raise ValueError("must be the user name alone, not a URL")
    if any(unicodedata.category(character) == "Cc" for character in username):
        raise ValueError("must not hold control characters")
    return username


def _check_topic(topic: str) -> str:
    if holds_credentials(topic):
        raise ValueError("must be a topic, not a URL")
    if topic.startswith(("/", "$")) or topic.endswith("/") or not re.fullmatch(r"[^\s#+\x00-\x1f\x7f]+", topic):
        raise ValueError("must be a topic without spaces, #, +, a leading $, or a slash at either end")
    return topic


def _tls_or_none(value: Any) -> Any:
    """All keys null or false, the written-out default, is no TLS."""
    if value == {} or isinstance(value, (str, bool)):
        raise ValueError("must name ca_file: a file, or system for the system's authorities; null is no TLS")
    return None if isinstance(value, dict) and all(item in (None, False) for item in value.values()) else value


def _check_websocket_path(value: Any) -> Any:
    """The path of a URL, without the rest of it."""
    if isinstance(value, str) and re.fullmatch(r"/[\x21-\x7e]*", value):
        return value
    raise ValueError("must be a path that starts with a slash, such as /mqtt")


Host = Annotated[str, Field(max_length=300), FromNumber, AfterValidator(check_broker_host)]
Topic = Annotated[str, Field(max_length=200), FromNumber, AfterValidator(_check_topic)]
Username = Annotated[str, Field(max_length=1000), FromNumber, AfterValidator(_check_username)]


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
    websocket_path: Annotated[str, BeforeValidator(_check_websocket_path)] = Field(default="/mqtt", repr=False)
    keepalive_seconds: int = Field(default=30, ge=5, le=3600)
    tls: Annotated[TlsSettings | None, BeforeValidator(_tls_or_none)] = None
    spool: Annotated[SpoolSettings, BeforeValidator(defaults_when_empty)] = SpoolSettings()

    @field_validator("websocket_path")
    @classmethod
    def _check_transport(cls, path: str, info: ValidationInfo) -> str:
        if info.data.get("transport") == "tcp" and path != cls.model_fields["websocket_path"].default:
            raise ValueError("needs transport: websockets, and transport is tcp; change it, or leave the path out")
        return path

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
