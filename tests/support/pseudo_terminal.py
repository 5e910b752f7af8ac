"""Runs a program on a pseudo-terminal that the test reads, types into and closes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

TIMEOUT_SECONDS = 60.0


class PseudoTerminal:
    """Starts a session leader with this as its controlling terminal, as a terminal window or ssh starts a shell."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int = 80, rows: int = 24):
        self.output = ""
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execvpe(command[0], list(command), environment)
            finally:
                os._exit(127)

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        """The process id of the session leader."""
        return self._pid

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str, after: int = 0) -> None:
        """Return when the program has written the text; fail the test if it does not in time."""
        self.wait(lambda: text in self.output[after:], text)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Read until a condition holds; fail the test if it does not in time."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"no {what!r} in {self.output[-3000:]!r}"
            self._read()

    def wait_for_end(self) -> int:
        """Wait for the session leader; return its exit code, negative for a signal."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"still running: {self.output[-3000:]!r}"
            self._read()

    def close(self) -> None:
        """Close the terminal, as closing its window or dropping its connection does."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self) -> None:
        if self._master < 0 or not select.select([self._master], [], [], 0.1)[0]:
            time.sleep(0.02)
            return
        try:
            self.output += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:  # the last program on the terminal has exited
            time.sleep(0.02)
