"""The unit files, checked by systemd itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent / "systemd"
MAX_EXPOSURE = 25
"""On systemd's scale from 0 to 100, which is printed divided by ten: 2.5."""


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs the package systemd")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(UNITS)}  # the user manager needs one, any folder will do
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=environment)


def test_the_exposure_of_the_system_service_is_low() -> None:
    result = analyze("security", "--offline=true", f"--threshold={MAX_EXPOSURE}", UNITS / "clapstream.service")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr


@pytest.mark.parametrize("unit", ["clapstream.service", "user/clapstream.service"])
def test_systemd_accepts_the_units(tmp_path: Path, unit: str) -> None:
    text = (UNITS / unit).read_text(encoding="utf-8")
    # The program of ExecStart is not installed here, but systemd checks that it exists.
    copy = tmp_path / "clapstream.service"
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE), encoding="utf-8")
    manager = "--user" if unit.startswith("user") else "--system"
    result = analyze(manager, "verify", copy)
    problems = [line for line in (result.stdout + result.stderr).splitlines() if "clapstream" in line]
    assert (result.returncode, problems) == (0, [])
