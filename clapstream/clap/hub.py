"""Where a checkpoint's files are: a directory, the checkpoint inside the package, or a model hub.

`huggingface_hub` is optional and imported only for a hub id. It caches, resumes an interrupted download, and
obeys its environment variables (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, cast

from clapstream.clap.arguments import refuse_by_name

BUNDLED = "bundled"
PICKLES = (".pt", ".pth", ".ckpt", ".bin")
BUNDLED_DIRECTORY = Path(__file__).parent / "bundled"


class CheckpointError(Exception):
    """A checkpoint that cannot be found, read or loaded; the message names the file and the key at fault."""


class HubUnreachableError(CheckpointError):
    """A file that is not in the cache while the hub is offline or cannot be reached."""


class SourceOptions(TypedDict, total=False):
    """Where and how to look for a hub id; ignored for a directory. Names as in transformers."""

    revision: str | None  # branch, tag or commit
    cache_dir: str | PathLike[str] | None
    force_download: bool
    local_files_only: bool
    token: str | bool | None
    subfolder: str


REFUSED = {
    "return_unused_kwargs": "unknown settings are kept",
    "proxies": "set HTTPS_PROXY in the environment instead",
    "mirror": "set HF_ENDPOINT in the environment instead",
}
"""Arguments of transformers' `from_pretrained` that are not supported, and why."""

WITHOUT_EFFECT = ("resume_download", "trust_remote_code", "_from_auto", "_commit_hash")
"""Downloads are always resumed, and no code of a checkpoint is ever run."""


def split_options(arguments: Mapping[str, Any]) -> tuple[SourceOptions, dict[str, Any]]:
    """Split a call's arguments into those that say where to look and the rest; TypeError for refused ones."""
    refuse_by_name(arguments, REFUSED)
    arguments = {
        "token" if name == "use_auth_token" else name: value
        for name, value in arguments.items()
        if name not in WITHOUT_EFFECT and name not in REFUSED
    }
    where = {name: value for name, value in arguments.items() if name in SourceOptions.__annotations__}
    rest = {name: value for name, value in arguments.items() if name not in where}
    return cast(SourceOptions, where), rest


@dataclass(frozen=True)
class CheckpointSource:
    """Finds a checkpoint's files by name."""

    name: str | PathLike[str]
    revision: str | None = None
    cache_dir: str | PathLike[str] | None = None
    force_download: bool = False
    local_files_only: bool = False
    token: str | bool | None = None
    subfolder: str = ""

    def __post_init__(self) -> None:
        """Refuse a value that cannot name a checkpoint, saying what to give instead.

        Raises:
            TypeError: something else than text or a path.
            CheckpointError: a file, a URL or nothing.
        """
        if not isinstance(self.name, (str, PathLike)):
            raise TypeError(
                "pretrained_model_name_or_path must be a directory, a hub id or 'bundled', not "
                f"{self.name!r} ({type(self.name).__name__})"
            )
        name = os.fspath(self.name)
        if not name:
            raise CheckpointError("pretrained_model_name_or_path is empty; give a directory or a hub id")
        if "://" in name:
            raise CheckpointError(
                "pretrained_model_name_or_path is a URL; give a hub id (owner/name) or a directory"
            )
        if Path(name).expanduser().is_file():
            hint = "give the directory that holds it"
            if name.endswith(PICKLES):
                hint = "clapstream.clap.from_laion reads LAION's .pt files; of other checkpoints give the directory"
            raise CheckpointError(f"{name}: is a file; {hint}")

    @property
    def directory(self) -> Path | None:
        """The directory that holds the files, or None for a hub id."""
        if self.name == BUNDLED:
            return BUNDLED_DIRECTORY / self.subfolder
        path = Path(self.name).expanduser()
        return path / self.subfolder if path.is_dir() else None

    def find(self, filename: str) -> Path | None:
        """The file's path, downloaded if need be, or None if the checkpoint does not have it.

        Raises:
            CheckpointError: there is no such directory or hub id, or the hub cannot be reached.
        """
        directory = self.directory
        if directory is None:
            return self._download(filename)
        path = directory / filename
        return path if path.is_file() else None

    def require(self, *filenames: str) -> Path:
        """The first of the named files that the checkpoint has.

        Raises:
            CheckpointError: it has none of them, or cannot be found or reached.
        """
        source, unreachable = self, None
        for filename in filenames:
            try:
                path = source.find(filename)
            except HubUnreachableError as error:  # another of the files may be in the cache
                unreachable = unreachable or error
                source = replace(self, local_files_only=True)
                continue
            if path is not None:
                return path
        if unreachable is not None:
            raise unreachable
        raise CheckpointError(f"{self.directory or self.name}: has no {' or '.join(filenames)}")

    def _download(self, filename: str) -> Path | None:
        name = os.fspath(self.name)
        if name.endswith(PICKLES):
            raise CheckpointError(f"{name}: there is no such file or directory")
        if isinstance(self.name, PathLike) or name.startswith((".", "/", "~")):
            raise CheckpointError(f"{name}: there is no such directory")
        try:
            from huggingface_hub import errors, hf_hub_download
        except ImportError as error:
            raise CheckpointError(
                f"{name}: is not a directory; as a hub id it needs huggingface_hub (pip install clapstream[hub])"
            ) from error
        try:
            path = hf_hub_download(
                name,
                filename,
                subfolder=self.subfolder or None,
                revision=self.revision,
                cache_dir=None if self.cache_dir is None else Path(self.cache_dir),
                force_download=self.force_download,
                local_files_only=self.local_files_only,
                token=self.token,
                library_name="clapstream",
            )
        except errors.LocalEntryNotFoundError as error:
            if self._known_to_be_absent(filename):
                return None
            raise HubUnreachableError(
                f"{name}: {filename} is not in the cache, and the hub is offline or cannot be reached: "
                f"{_without_url(error.__cause__ or error)}"
            ) from error
        except errors.EntryNotFoundError:
            return None
        except (errors.HFValidationError, errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
            raise CheckpointError(f"{name}: {self._explain(error, filename)}") from error
        return Path(path)

    def _explain(self, error: Exception, filename: str) -> str:
        """Why a download failed, in words that say what to do."""
        from huggingface_hub import errors

        match error:
            case errors.HFValidationError():
                return "is neither a directory nor a hub id (owner/name)"
            case errors.GatedRepoError():
                return "its owner must grant access first; then give a token"
            case errors.RepositoryNotFoundError():
                return "is not a directory, and the hub has no such repository, or it is private"
            case errors.RevisionNotFoundError():
                return f"has no revision {self.revision!r}"
            case _:
                return f"{filename} could not be downloaded: {_without_url(error)}"

    def _known_to_be_absent(self, filename: str) -> bool:
        """Whether the cache records that the hub has no such file."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        found = try_to_load_from_cache(
            os.fspath(self.name),
            f"{self.subfolder}/{filename}" if self.subfolder else filename,
            cache_dir=None if self.cache_dir is None else Path(self.cache_dir),
            revision=self.revision,
        )
        return found is _CACHED_NO_EXIST


def _without_url(error: BaseException) -> str:
    """What a failed request was about, without its URL: the user's mirror of the hub may need a password."""
    response = getattr(error, "response", None)
    return str(error) if response is None else f"the hub answers {response.status_code}"
