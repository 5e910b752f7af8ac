"""The other end of `worker`: starts a peer's process and asks it for measurements."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.environment import cache_directory, share_path


class PeerProcess:
    """A peer's process, ready once this is entered; it sleeps while it is not asked."""

    def __init__(self, peer: str, checkpoint: Path, batch: int, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", peer, str(checkpoint)]
        command += ["--batch", str(batch), "--threads", str(threads)]
        if peer.startswith(("onnxruntime", "openvino")):
            command += ["--exported", str(exported_model(checkpoint, batch, int8="int8" in peer))]
        # Threads that wait asleep: one peer's must not take the time of the next one's turn.
        environment = {**share_path(), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._peer = peer

    def __enter__(self) -> PeerProcess:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request of `worker` and wait for the answer. Raises SystemExit if the process ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._peer} ended with exit code {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def exported_model(checkpoint: Path, batch: int, *, int8: bool) -> Path:
    """The tower as an ONNX file, made at its first use by a process of its own."""
    weights = checkpoint / "model.safetensors"
    stem = re.sub(r"\W+", "-", f"{checkpoint.name}-{weights.stat().st_mtime_ns}-batch-{batch}")
    exported = cache_directory() / "exported" / f"{stem}.onnx"
    command = [sys.executable, "-m", "benchmarks.export", str(checkpoint), "--batch", str(batch)]
    if not exported.is_file():
        subprocess.run([*command, str(exported)], env=share_path(), check=True)
    if not int8:
        return exported
    quantised = exported.with_suffix(".int8.onnx")
    if not quantised.is_file():
        subprocess.run([*command, str(quantised), "--int8", str(exported)], env=share_path(), check=True)
    return quantised
