"""A virtual environment of its own for the peers, so that nothing of theirs gets into the project's."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PEERS = ("transformers>=5,<6", "onnx", "onnxruntime", "openvino", "matplotlib")
PROJECT = Path(__file__).parent.parent


def cache_directory() -> Path:
    """Where the environment, random checkpoints and exported models are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "clapstream-benchmarks"


def make_environment() -> Path:
    """Make the environment if it is missing and return its interpreter.

    It sees the packages of the interpreter that runs this (torch above all: the same build for all), and adds the
    peers to them.
    """
    directory = cache_directory() / "environment"
    python = directory / "bin" / "python"
    if not python.is_file():
        venv.create(directory, with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        shared = directory / "lib" / version / "site-packages" / "shared.pth"
        shared.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEERS], check=True)
    return python


def share_path() -> dict[str, str]:
    """Our environment variables, with the project importable."""
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path}
