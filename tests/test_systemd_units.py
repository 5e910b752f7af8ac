"""The unit files, as systemd itself judges them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent / "systemd"
MOST_EXPOSURE = 25
"""systemd's own scale from 0 to 100, printed with a point: 2.5."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs the package systemd")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(UNITS)}  # any folder: a session's manager asks for one
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_the_system_service_is_hardly_exposed() -> None:
    judged = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", UNITS / "clapstream.service")
    assert judged.returncode == 0, judged.stdout[-2000:] + judged.stderr


@pytest.mark.parametrize("unit", ["clapstream.service", "user/clapstream.service"])
def test_systemd_understands_the_units(tmp_path: Path, unit: str) -> None:
    text = (UNITS / unit).read_text(encoding="utf-8")
    # The program is not where a user will have it, but it has to be somewhere for systemd.
    somewhere = tmp_path / "clapstream.service"
    somewhere.write_text(
        re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE), encoding="utf-8"
    )
    manager = "--user" if unit.startswith("user") else "--system"
    judged = analyze(manager, "verify", somewhere)
    about_us = [line for line in (judged.stdout + judged.stderr).splitlines() if "clapstream" in line]
    assert (judged.returncode, about_us) == (0, [])
