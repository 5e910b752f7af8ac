"""A PulseAudio server of the tests' own. Its null sinks are rooms: a microphone hears what is played into them."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDED = {
    "pulseaudio": "pulseaudio",
    "pactl": "pulseaudio-utils",
    "paplay": "pulseaudio-utils",
}
START_SECONDS = 20.0


def require_sound_system() -> None:
    """Skip the test, naming the Debian package that is missing."""
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            pytest.skip(f"needs the package {package}")
    if not any(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        pytest.skip("needs the package libasound2-plugins")
    if ctypes.util.find_library("portaudio") is None:
        pytest.skip("needs the package libportaudio2")


ROOMS = ("room", "kitchen", "bath")

ALSA_CONFIGURATION = "</usr/share/alsa/alsa.conf>\n" + "".join(
    f'pcm.{room} {{ type pulse\n device "{room}.monitor" }}\n' for room in ROOMS
)


class SoundSystem:
    """The server. Each of `ROOMS` is a PortAudio device of that name; "pulse" is the one added last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._rooms: dict[str, str] = {}
        (folder / "alsa.conf").write_text(ALSA_CONFIGURATION)
        self.environment = {
            "ALSA_CONFIG_PATH": f"{folder}/alsa.conf",
            "PULSE_SERVER": f"unix:{folder}/native",
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_STATE_PATH": str(folder),
            "PULSE_COOKIE": str(folder / "cookie"),
        }

    def start(self) -> None:
        """Start the server, with no room."""
        socket = self.folder / "native"
        socket.unlink(missing_ok=True)
        self._server = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "--log-level=error",
                f"--load=module-native-protocol-unix socket={socket} auth-anonymous=1",
            ],
            env={**os.environ, **self.environment},
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while self._pactl("info", check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("PulseAudio did not start")
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._server is not None

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
            self._rooms.clear()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server without closing its connections, as an overloaded machine would."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def add_room(self, name: str = "room") -> None:
        """Plug in a microphone: its room is a null sink, and it becomes the default."""
        if name in self._rooms:
            return
        loaded = self._pactl("load-module", "module-null-sink", f"sink_name={name}", "rate=48000", "channels=2")
        self._rooms[name] = loaded.stdout.strip()
        self._pactl("set-default-source", f"{name}.monitor")
        self._pactl("set-default-sink", name)

    def remove_room(self, name: str = "room") -> None:
        """Unplug the microphone."""
        self._pactl("unload-module", self._rooms.pop(name))

    def remove_all_rooms(self) -> None:
        """Unplug whatever is plugged in."""
        for name in list(self._rooms):
            self.remove_room(name)

    def play(self, path: Path, room: str = "room") -> subprocess.Popen[bytes]:
        """Start playing a sound file into a room."""
        return subprocess.Popen(
            ["paplay", f"--device={room}", str(path)],
            env={**os.environ, **self.environment},
            stderr=subprocess.DEVNULL,  # it complains when its room goes
        )

    def _pactl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=check,
        )
