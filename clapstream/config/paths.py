"""Paths in settings: relative to the file that names them, and fit for what they are meant for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from clapstream.config.plain_values import written_text


@dataclass(frozen=True, slots=True)
class FileContext:
    """Where settings come from: relative paths are meant from `directory`, and must exist.

    With `sources_may_fail` the files of sources need not: each source then says itself what is wrong with its own.
    """

    directory: Path
    sources_may_fail: bool = False


def default_config_directory() -> Path:
    """Directory of the default clapstream.yaml and labels.yaml: in the wheel, or in the source tree."""
    package = Path(__file__).parent.parent
    packaged = package / "default_config"
    return packaged if packaged.is_dir() else package.parent / "config"


PATH_ERROR = "unusable_path"
"""Type of the errors whose message is `{path} {reason}`, where the path may be shown, else the reason alone."""


def _unusable(path: Path, reason: str) -> PydanticCustomError:
    return PydanticCustomError(PATH_ERROR, "{reason}", {"path": str(path), "reason": reason})


def _resolve(value: Any, info: ValidationInfo) -> Any:
    """Path from text, relative to the file that names it."""
    value = written_text(value)
    if not isinstance(value, str):
        return value
    if not value.strip() or "\0" in value:
        raise ValueError("must be a path")
    if "://" in value:
        raise ValueError("must be a path, not a URL")
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
        if path.is_dir():
            reason = "is a directory; a file is needed"
        else:
            reason = "is not a regular file" if path.exists() else "does not exist"
    except OSError as error:  # no permission on the way, a name that is too long
        reason = f"cannot be reached: {error.strerror}"
    raise _unusable(path, reason)


def sources_may_fail(info: ValidationInfo) -> bool:
    """Whether a file that only one source needs may be missing."""
    return isinstance(info.context, FileContext) and info.context.sources_may_fail


def _must_be_file_of_source(path: Path, info: ValidationInfo) -> Path:
    return path if sources_may_fail(info) else _must_be_file(path, info)


def _must_not_be_file(path: Path, info: ValidationInfo) -> Path:
    try:
        if isinstance(info.context, FileContext):
            nearest = next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
            if not nearest.is_dir():
                raise _unusable(nearest, "is not a directory")
    except OSError as error:
        raise _unusable(path, f"cannot be reached: {error.strerror}") from error
    return path


_CHECKPOINTS = "bundled, a directory or a hub id such as laion/clap-htsat-unfused"


def check_checkpoint(value: Any, info: ValidationInfo) -> Any:
    """`bundled`, a directory (made absolute when it comes from a file) or a hub id."""
    value = written_text(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"must be {_CHECKPOINTS}")
    if not isinstance(value, str) or value == "bundled" or not isinstance(info.context, FileContext):
        return value
    path: Path = _resolve(value, info)
    try:
        if path.is_dir():
            return str(path)
    except OSError as error:
        raise _unusable(path, f"cannot be reached: {error.strerror}") from error
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", value):
        return value
    raise _unusable(path, f"is not a directory; allowed is {_CHECKPOINTS}")


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


FilePath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_must_be_file)]
SourceFilePath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_must_be_file_of_source)]
DirectoryPath = Annotated[Path, BeforeValidator(_resolve), AfterValidator(_must_not_be_file)]
