"""The modules of training import each other in one direction only, functions that import late included."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def import_graph(root: Path, package: str) -> dict[str, set[str]]:
    """For each module under `root/package` the modules of the package that it imports anywhere."""
    files = {module_name(path, root): path for path in sorted((root / package).rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                of = node.module or ""
                # `from package import name` imports the module `name`, or else a name of the package itself.
                imported |= {f"{of}.{alias.name}" if f"{of}.{alias.name}" in files else of for alias in node.names}
        graph[name] = imported & files.keys()
    return graph


def test_no_import_cycle() -> None:
    graph = import_graph(ROOT, "training")
    assert len(graph) > 40
    TopologicalSorter(graph).prepare()


def test_a_cycle_is_found_also_inside_functions(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "__init__.py").write_text("")
    (tmp_path / "made" / "first.py").write_text("from made import second\n")
    (tmp_path / "made" / "second.py").write_text("def late():\n    import made.first\n")
    with pytest.raises(CycleError):
        TopologicalSorter(import_graph(tmp_path, "made")).prepare()


def test_training_uses_no_internals_of_the_daemon() -> None:
    """Private names stay where they are, and only the module that runs scenes knows how detection is built."""
    allowed = {"training.scene_listener"}
    for path in sorted((ROOT / "training").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clapstream."):
                parts = (node.module or "").split(".")
                assert parts[1] not in ("process", "sinks", "commands"), path
                assert parts[1] != "daemon" or module_name(path, ROOT) in allowed, path
                names = [*parts, *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names), path
