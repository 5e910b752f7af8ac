"""Lists of labelled sound files: a CSV with the columns file, label and, optionally, fold."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_COLUMNS = ("file", "filename")
LABEL_COLUMNS = ("label", "category")
FOLD_COLUMNS = ("fold",)
"""What a column may be called; the second names are those of ESC-50's own list."""

_SHOWN_PROBLEMS = 10


class ClipListError(Exception):
    """The list cannot be used; the message names lines and columns, one problem a line."""


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """One line of a list. `line` counts from 1, the header included; `fold` is empty where there are none."""

    path: Path
    label: str
    fold: str = ""
    line: int = 0


def read_clips(csv_path: Path, audio_folder: Path | None = None) -> list[LabelledClip]:
    """Read a list whose files are relative to `audio_folder`, by default the list's own folder.

    Raises ClipListError for a list that is unreadable or empty, lacks a column or a value, or names a missing file.
    """
    folder = csv_path.parent if audio_folder is None else audio_folder
    clips: list[LabelledClip] = []
    problems: list[str] = []
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = _columns(csv_path, reader.fieldnames or ())
            for row in reader:
                clip = _clip(row, columns, folder, reader.line_num, problems)
                if clip is not None:
                    clips.append(clip)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise ClipListError(f"{csv_path}: cannot be read: {reason}") from error
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        shown = [f"{csv_path}: {problem}" for problem in problems[:_SHOWN_PROBLEMS]]
        raise ClipListError("\n".join(shown + [f"{csv_path}: and {more} more problems"] * (more > 0)))
    if not clips:
        raise ClipListError(f"{csv_path}: lists no files")
    return clips


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the columns are called in one list; `fold` is None where the list has none."""

    file: str
    label: str
    fold: str | None


def _columns(csv_path: Path, names: Sequence[str]) -> _Columns:
    def find(wanted: Sequence[str]) -> str | None:
        return next((name for name in wanted if name in names), None)

    file, label = find(FILE_COLUMNS), find(LABEL_COLUMNS)
    if file is None or label is None:
        missing = " and ".join(
            wanted[0] for wanted, found in ((FILE_COLUMNS, file), (LABEL_COLUMNS, label)) if found is None
        )
        raise ClipListError(
            f"{csv_path}: line 1: lacks the column {missing}; it has: {', '.join(names) or 'nothing'}"
        )
    return _Columns(file, label, find(FOLD_COLUMNS))


def _clip(
    row: Mapping[str, str | None], columns: _Columns, folder: Path, line: int, problems: list[str]
) -> LabelledClip | None:
    """The clip of a row, or None and what is wrong with it added to `problems`."""
    file, label = (row[columns.file] or "").strip(), (row[columns.label] or "").strip()
    found = len(problems)
    if not file:
        problems.append(f"line {line}: column {columns.file}: is empty")
    elif not (folder / file).is_file():
        problems.append(f"line {line}: column {columns.file}: {folder / file} does not exist")
    if not label:
        problems.append(f"line {line}: column {columns.label}: is empty")
    if len(problems) > found:
        return None
    fold = "" if columns.fold is None else (row[columns.fold] or "").strip()
    return LabelledClip(folder / file, label, fold, line)
