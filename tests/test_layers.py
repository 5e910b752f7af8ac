"""Imports point down only, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "clapstream"

BOTTOM = {"clap", "config", "process", "slugs", "urls"}
SEAMS = {"control", "updates"}

ALLOWED = {
    "slugs": set(),
    "urls": set(),
    "updates": {"slugs"},
    "control": set(),
    "process": {"process"},
    "clap": {"clap"},
    "config": {"config", "slugs", "urls"},
    "audio": {"audio", "process", "urls"},
    "detection": {"detection", "audio", "clap", "config", "updates"},
    "inference": {"inference", "audio", "clap", "config", "detection"},
    "sinks": {"sinks", "config", "process", "slugs", "urls"} | SEAMS,
    "evaluation": {"evaluation", "audio", "clap", "inference"},
    "demo": {"config"},
    "daemon": {"daemon", "audio", "detection", "inference", "sinks"} | BOTTOM | SEAMS,
    "commands": {"commands", "audio", "daemon", "demo", "detection", "evaluation", "inference", "sinks"} | BOTTOM,
}
"""Which packages and modules each may import from; `cli` may import any, and nothing imports `cli`."""


def part(path: Path) -> str:
    """The package, or the module beside the packages, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
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
        parts |= {name.split(".")[1] for name in names if name.startswith("clapstream.")}
    return parts - {"__version__"}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if part(path) not in ("__init__", "__main__", "cli")]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    assert imported_parts(path) <= ALLOWED[part(path)]


def test_the_command_line_starts_without_heavy_modules() -> None:
    heavy = ["torch", "sounddevice", "aiomqtt", "rich", "numpy", "soundfile", "pydantic", "yaml"]
    probe = f"import sys, clapstream.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_detection_needs_no_torch() -> None:
    names = [f"clapstream.detection.{path.stem}" for path in sorted((PACKAGE / "detection").glob("[a-z]*.py"))]
    assert "clapstream.detection.detector" in names
    probe = f"import sys, {', '.join(names)}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_start_with_cached_embeddings_needs_no_tokenizer() -> None:
    probe = "import sys, clapstream.daemon.build; print('tokenizers' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
