"""Kinds of values that settings are made of, and what is said about values that are not of the kind."""

from __future__ import annotations

import re
import socket
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    SecretStr,
    TypeAdapter,
    ValidationInfo,
)

from clapstream.config.addresses import check_broker_host, check_stream_url
from clapstream.config.paths import FileContext, FilePath, SourceFilePath, sources_may_fail
from clapstream.config.plain_values import written_text
from clapstream.config.secret_files import explain_unreadable, read_secret


def _is_credentials(text: str) -> bool:
    """Whether a text that is going to be shown holds a URL or a user name with its password."""
    return re.search(r"://|[^\s:]:\S*@", text) is not None


def _clean_text(text: str) -> str:
    """Control characters, which could move a terminal's cursor, and runs of white space become one space."""
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    cleaned = " ".join(visible.split())
    if not cleaned:
        raise ValueError("must not be empty")
    if _is_credentials(cleaned):  # it would be shown, logged and published
        raise ValueError("must not hold a URL or a password")
    return cleaned


def tuple_from_list(value: Any) -> Any:
    """A list as YAML has it into a tuple as settings have it."""
    return tuple(value) if isinstance(value, list) else value


def check_mapping(value: Any) -> Any:
    """A section's keys and values, or the section itself."""
    if isinstance(value, (dict, BaseModel)):
        return value
    raise ValueError("must be a mapping of keys to values")


def defaults_when_empty(value: Any) -> Any:
    """A section whose keys are all commented out reads as null: it means the defaults."""
    return {} if value is None else value


MOST_DEVICES = 1_000
MOST_CHANNELS = 1_024


def _is_index(value: Any, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def check_device(value: Any) -> Any:
    """Which sound card: None, an index or part of a name."""
    if isinstance(value, str) and _is_credentials(value):
        raise ValueError("must be a sound card, not a URL")
    if value is None or _is_index(value, MOST_DEVICES) or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError(
        "must be part of a device's name, its index from `clapstream devices`, or null for the default"
    )


def on_or_off(value: Any) -> Any:
    """True or false, also written as on and off, which are text in YAML 1.2, or taken from a variable."""
    return {"on": True, "true": True, "off": False, "false": False}.get(str(value).lower(), value)


def check_channel(value: Any) -> Any:
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


def _check_url(url: SecretStr, info: ValidationInfo) -> SecretStr:
    if not isinstance(info.context, FileContext):
        return url
    return SecretStr(check_stream_url(url.get_secret_value()))


def _check_url_file(path: Path, info: ValidationInfo) -> Path:
    if not sources_may_fail(info):
        read_url(path)
    return path


def read_url(path: Path) -> SecretStr:
    """The URL that a file holds; ValueError says what is wrong with it."""
    try:
        url = read_secret(path)
    except OSError as error:
        fault = explain_unreadable(error)
    else:
        return SecretStr(check_stream_url(url))
    raise ValueError(fault)


def _check_username(username: str) -> str:
    if not username:
        raise ValueError("must not be empty; null logs in without a user name")
    if "://" in username:
        raise ValueError("must be the user name alone, not a URL")
    if any(unicodedata.category(character) == "Cc" for character in username):
        raise ValueError("must not hold control characters")
    return username


def _check_revision(revision: str) -> str:
    if not re.fullmatch(r"[^\s:~^?*\[\\\x00-\x1f\x7f]+", revision):
        raise ValueError("must be a branch, a tag or a commit of the hub")
    return revision


def check_model_device(value: Any) -> Any:
    """What PyTorch calls a device, or `auto`."""
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        return value
    raise ValueError("must be auto, cpu, cuda, cuda:1, mps or xpu")


def _check_topic(topic: str) -> str:
    if _is_credentials(topic):
        raise ValueError("must be a topic, not a URL")
    if topic.startswith(("/", "$")) or topic.endswith("/") or not re.fullmatch(r"[^\s#+\x00-\x1f\x7f]+", topic):
        raise ValueError("must be a topic without spaces, #, +, a leading $, or a slash at either end")
    return topic


def tls_or_none(value: Any) -> Any:
    """All keys null or false, the written-out default, is no TLS."""
    if value == {} or isinstance(value, (str, bool)):
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


FromNumber = BeforeValidator(written_text)
"""Text that may look like a number: a node, a user name or a topic made of digits."""

Text = Annotated[str, Field(max_length=1000), FromNumber, AfterValidator(_clean_text)]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
Topic = Annotated[str, Field(max_length=200), FromNumber, AfterValidator(_check_topic)]
Host = Annotated[str, Field(max_length=300), FromNumber, AfterValidator(check_broker_host)]
Username = Annotated[str, Field(max_length=1000), FromNumber, AfterValidator(_check_username)]
Revision = Annotated[str, Field(max_length=200), FromNumber, AfterValidator(_check_revision)]
UrlFile = Annotated[SourceFilePath, AfterValidator(_check_url_file)]
_NAMES = TypeAdapter(tuple[Text, ...])
_FILE = TypeAdapter(FilePath)
SourceLabels = Annotated[Path | tuple[str, ...] | None, PlainValidator(_check_source_labels)]
SecretUrl = Annotated[
    SecretStr,
    BeforeValidator(lambda value: SecretStr(value) if isinstance(value, str) else value),
    AfterValidator(_check_url),
]
