"""The URL of a network stream, which may hold a password: written in the configuration or in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo

from clapstream.config.addresses import check_stream_url
from clapstream.config.paths import FileContext, SourceFilePath, sources_may_fail
from clapstream.config.secret_files import explain_unreadable, read_secret


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


UrlFile = Annotated[SourceFilePath, AfterValidator(_check_url_file)]
SecretUrl = Annotated[
    SecretStr,
    BeforeValidator(lambda value: SecretStr(value) if isinstance(value, str) else value),
    AfterValidator(_check_url),
]
