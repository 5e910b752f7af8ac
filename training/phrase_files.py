"""The text files that people wrote: phrases for the classes and labels, and the paraphrases that measure them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from training import paths


def audioset_phrases() -> dict[str, list[str]]:
    """Phrases of AudioSet's classes by display name."""
    written: dict[str, list[str]] = _read("audioset.yaml")
    return written


def label_map() -> dict[str, dict[str, Any]]:
    """For each label of the data its `display` name, the AudioSet classes it implies (`audioset`) and `phrases`."""
    written: dict[str, dict[str, Any]] = _read("label_map.yaml")
    return written


def confusable_groups() -> list[list[str]]:
    """Labels that a recording of one another may contain as well, or be taken for."""
    written: list[list[str]] = _read("confusable.yaml")
    return written


def display_names() -> dict[str, str]:
    """How each label of the data is written out."""
    return {label: entry["display"] for label, entry in label_map().items()}


def read_paraphrases() -> list[tuple[str, str]]:
    """Paraphrases with their labels."""
    with (paths.phrases() / "paraphrases.csv").open(encoding="utf-8", newline="") as stream:
        return [(row["paraphrase"], row["label"]) for row in csv.DictReader(stream)]


def _read(name: str) -> Any:
    return _parsed(paths.phrases() / name)


@cache
def _parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
