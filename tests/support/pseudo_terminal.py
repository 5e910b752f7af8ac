"""A program on a pseudo-terminal of the test's own, which the test looks at, types into and closes."""

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

PATIENCE_SECONDS = 60.0


class PseudoTerminal:
    """A session leader whose controlling terminal this is, as a terminal's window or ssh starts a shell."""

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
        """Of the session leader."""
        return self._pid

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str, after: int = 0) -> None:
        """Return once the program has written the text; fails the test if it never does."""
        self.wait(lambda: text in self.output[after:], text)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Read on until a condition holds; fails the test if it never does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"no {what!r} in {self.output[-3000:]!r}"
            self._read()

    def wait_for_end(self) -> int:
        """Wait for the session leader: its exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"it goes on: {self.output[-3000:]!r}"
            self._read()

    def close(self) -> None:
        """Close the window, or drop the connection."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self) -> None:
        if self._master < 0 or not select.select([self._master], [], [], 0.1)[0]:
            time.sleep(0.02)
            return
        try:
            self.output += os.read(self._master, 65_536).decode(errors="replace")
        except OSError:  # the last program on it has ended
            time.sleep(0.02)
