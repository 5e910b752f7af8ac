"""Configurations that tests write, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clapstream.config import ConfigError, Settings, load_settings

LABELS = "labels: [dog barking, doorbell]\nbackground: [a quiet room]\n"


def load(folder: Path, main: str, labels: str = LABELS, **environment: str) -> Settings:
    """Settings from two files of this text."""
    (folder / "labels.yaml").write_text(labels, encoding="utf-8")
    path = folder / "clapstream.yaml"
    path.write_text(main if "labels:" in main else f"{main}\nlabels: labels.yaml\n", encoding="utf-8")
    return load_settings(path, environment)


def refusal(folder: Path, main: str, labels: str = LABELS, **environment: str) -> str:
    """What is said of a configuration that must be refused: a line a problem, files without their folder."""
    with pytest.raises(ConfigError) as raised:
        load(folder, main, labels, **environment)
    assert raised.value.__context__ is None  # whose traceback could show the file's text
    return str(raised.value).replace(f"{folder}/", "")
