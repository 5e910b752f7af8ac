"""Kinds of values that settings are made of, and what is said about values that are not of the kind."""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo


@dataclass(frozen=True, slots=True)
class FileContext:
    """Where settings come from: relative paths are meant from `directory`, and must exist."""

    directory: Path


def _clean_text(text: str) -> str:
    """Control characters, which could move a terminal's cursor, and runs of white space become one space."""
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    cleaned = " ".join(visible.split())
    if not cleaned:
        raise ValueError("must not be empty")
    return cleaned


def tuple_from_list(value: Any) -> Any:
    """A list as YAML has it into a tuple as settings have it."""
    return tuple(value) if isinstance(value, list) else value


def defaults_when_empty(value: Any) -> Any:
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
    if not isinstance(info.context, FileContext):
        return path
    try:
        if path.is_file():
            return path
        reason = "is a directory; a file is needed" if path.is_dir() else "does not exist"
    except OSError as error:  # no permission on the way, a name that is too long
        reason = f"cannot be reached: {error.strerror}"
    raise ValueError(f"{path} {reason}")


def check_device(value: Any) -> Any:
    """Which sound card: None, an index or part of a name."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(
        "must be part of a device's name, its index from `clapstream devices`, or null for the default"
    )


def check_channel(value: Any) -> Any:
    """Which channel of a sound card: a word or an index."""
    if value in ("mix", "left", "right") or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError("must be mix, left, right or a channel index from 0")


def _check_url(url: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\x00-\x1f]+", url.get_secret_value(), re.IGNORECASE):
        raise ValueError("must be a URL such as rtsp://camera/1")
    return url


def check_checkpoint(value: Any, info: ValidationInfo) -> Any:
    """`bundled`, a directory (made absolute when it comes from a file) or a hub id."""
    if not isinstance(value, str) or value == "bundled" or not isinstance(info.context, FileContext):
        return value
    path: Path = _resolve(value, info)
    try:
        if path.is_dir():
            return str(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be reached: {error.strerror}") from error
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", value):
        return value
    allowed = "bundled, a directory or a hub id such as laion/clap-htsat-unfused"
    raise ValueError(f"{path} is not a directory; allowed is {allowed}")


def check_model_device(value: Any) -> Any:
    """What PyTorch calls a device, or `auto`."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        return value
    raise ValueError("must be auto, cpu, cuda, cuda:1, mps or xpu")


def _check_topic(topic: str) -> str:
    if topic.startswith(("/", "$")) or topic.endswith("/") or not re.fullmatch(r"[^\s#+\x00-\x1f\x7f]+", topic):
        raise ValueError("must be a topic without spaces, #, +, a leading $, or a slash at either end")
    return topic


def tls_or_none(value: Any) -> Any:
    """All keys null or false, the written-out default, is no TLS."""
    if value == {}:
        raise ValueError("must name ca_file: a file, or system for the system's authorities; null is no TLS")
    return None if isinstance(value, dict) and all(item in (None, False) for item in value.values()) else value


def check_websocket_path(value: Any) -> Any:
    """The path of a URL, without the rest of it."""
    if isinstance(value, str) and re.fullmatch(r"/[\x21-\x7e]*", value):
        return value
    raise ValueError("must be a path that starts with a slash, such as /mqtt")


def host_name_when_null(value: Any) -> Any:
    """The name of this machine, without its domain; `home` where it has none of its own."""
    if value is not None:
        return value
    name = socket.gethostname().partition(".")[0]
    # A container that was given no name has a random one, another each time that it is made.
    return "home" if name in ("", "localhost") or re.fullmatch(r"[0-9a-f]{12}", name) else name


def user_directory(systemd_variable: str, xdg_variable: str, home_part: str) -> Callable[[Any], Any]:
    """Validator that puts a directory of ours in the place of null: where systemd says, else where XDG says."""

    def directory_when_null(value: Any) -> Any:
        if value is not None:
            return value
        if from_systemd := os.environ.get(systemd_variable):
            return Path(from_systemd.partition(":")[0])
        from_xdg = os.environ.get(xdg_variable, "")
        if from_xdg.startswith("/"):
            return Path(from_xdg) / "clapstream"
        try:
            return Path.home() / home_part / "clapstream"
        except RuntimeError as error:
            raise ValueError("has no default without a home directory; name a directory") from error

    return directory_when_null


def _check_host_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.:-]{0,253})", name):
        raise ValueError("must be a host name, without scheme and port")
    return name


Text = Annotated[str, Field(max_length=1000), AfterValidator(_clean_text)]
FilePath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_must_be_file)]
DirectoryPath = Annotated[Path, BeforeValidator(_resolve)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
HostName = Annotated[str, AfterValidator(_check_host_name)]
Topic = Annotated[str, Field(max_length=200), AfterValidator(_check_topic)]
SecretUrl = Annotated[
    SecretStr,
    BeforeValidator(lambda value: SecretStr(value) if isinstance(value, str) else value),
    AfterValidator(_check_url),
]
