"""The packages of sources do not import each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clapstream.audio

AUDIO = Path(clapstream.audio.__file__).parent
ALLOWED = {"": set(), "live": {"live"}, "files": {"files"}} | {
    package: {package, "live"} for package in ("microphone", "pcm", "stream")
}
"""Which packages in audio/ each may import from; "" are the modules beside them."""

PACKAGE_IMPORT = re.compile(rf"\bclapstream\.audio\.({'|'.join(filter(None, ALLOWED))})\b")


def test_every_package_is_listed() -> None:
    assert {path.parent.name for path in AUDIO.glob("*/__init__.py")} == ALLOWED.keys() - {""}


@pytest.mark.parametrize("package", ALLOWED)
def test_imports(package: str) -> None:
    for path in (AUDIO / package).glob("*.py"):
        assert set(PACKAGE_IMPORT.findall(path.read_text(encoding="utf-8"))) <= ALLOWED[package], path
