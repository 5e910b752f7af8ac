"""Imports point down only, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "clapstream"

ALLOWED = {
    "clap": {"clap"},
    "slugs": set(),
    "urls": set(),
    "updates": set(),
    "config": {"config", "slugs", "urls"},
    "service_manager": set(),
    "threads": set(),
    "quick_imports": set(),
    "backoff": set(),
    "leaving": set(),
    "memory": set(),
    "terminal": set(),
    "listening_switches": set(),
    "signals": {"terminal"},
    "audio": {"audio", "backoff", "urls"},
    "detection": {"detection", "audio", "clap", "config", "updates"},
    "worker": {"audio", "config"},
    "sinks": {"sinks", "backoff", "config", "slugs", "updates", "urls"},
    "pipeline": {"audio", "detection", "updates", "worker"},
    "running_sources": {"audio", "pipeline", "updates"},
    "daemon": {
        "audio", "clap", "config", "detection", "memory", "pipeline", "running_sources", "service_manager",
        "signals", "slugs", "terminal", "updates", "worker",
    },
    "tagging": {"audio"},
    "evaluation": {"evaluation", "audio", "clap", "detection"},
    "benchmark": {"audio", "clap", "config", "detection"},
    "demo": {"config"},
    "assembly": {
        "audio", "clap", "config", "daemon", "detection", "leaving", "listening_switches", "memory", "sinks",
        "terminal", "worker",
    },
    "commands": {
        "assembly", "audio", "benchmark", "commands", "config", "demo", "detection", "evaluation",
        "leaving", "sinks", "tagging", "terminal", "urls",
    },
}  # fmt: skip
"""Which rooms each room may import from; `cli` may import any, and nothing imports `cli`."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "clapstream":
                names = [f"clapstream.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("clapstream.")}
    return rooms - {"__version__"}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if room(path) not in ("__init__", "__main__", "cli")]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert imported_rooms(path) <= ALLOWED[room(path)]


def test_the_command_line_starts_without_heavy_modules() -> None:
    heavy = ["torch", "sounddevice", "aiomqtt", "rich", "numpy", "soundfile", "pydantic", "yaml"]
    probe = f"import sys, clapstream.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
