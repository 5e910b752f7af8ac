"""A real clapstream process, started as a user would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

TIMEOUT_SECONDS = 120.0


class ClapstreamProcess:
    """`clapstream run` on settings that the test wrote, with its own cache and state directories."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, object],
        environment: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "clapstream"),
        standard_input: int = subprocess.DEVNULL,
    ) -> None:
        self.config = folder / "clapstream.yaml"
        self._log = folder / "clapstream.log"
        directories = {"cache_directory": str(folder / "cache"), "state_directory": str(folder / "state")}
        self.config.write_text(yaml.safe_dump({"node": "home", **directories, **settings}))
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
        self._program = program
        self._standard_input = standard_input
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything it wrote to stderr, over all its starts."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self, until: str = "listening to") -> None:
        """Start it, and return once its log says that it is ready."""
        before = len(self.log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "run", "--no-dashboard", "-c", str(self.config)],
                stdin=self._standard_input,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # as under a service manager: no terminal, so SIGHUP reloads
            )
        self.wait_for_log(until, before)

    def wait_for_log(self, text: str, after: int = 0) -> None:
        """Return once the log has the text; fails the test if the process ends or it never comes."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while text not in self.log[after:]:
            assert self._process is not None
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.log[after:]}"
            assert time.monotonic() < deadline, f"no {text!r} in: {self.log[after:]}"
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal and wait for the end: exit code and seconds it took."""
        started = time.monotonic()
        self.send(number)
        return self.wait(), time.monotonic() - started

    def wait(self) -> int:
        """Wait for the end: exit code."""
        assert self._process is not None
        code = self._process.wait(TIMEOUT_SECONDS)
        self._process = None
        return code

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
