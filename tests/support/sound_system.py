"""PulseAudio and PipeWire servers for tests. Each null sink is a room whose microphone records what is played."""

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
    """A PulseAudio server. Each of `ROOMS` is a PortAudio device of that name; "pulse" is the one added last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self._rooms: dict[str, str] = {}
        self._players: list[subprocess.Popen[bytes]] = []
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
            self._command(socket),
            env={**os.environ, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while self._pactl("info", check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} did not start")
            time.sleep(0.05)

    def _command(self, socket: Path) -> list[str]:
        return [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--use-pid-file=no",
            "--log-level=error",
            f"--load=module-native-protocol-unix socket={socket} auth-anonymous=1",
        ]

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._server is not None

    def kill(self) -> None:
        """Kill the server, as a crash would."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None
            self._rooms.clear()
            self._end_players()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server without closing its connections, as an overloaded machine would."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._server.send_signal(signal.SIGCONT)

    def add_room(
        self, name: str = "room", channel_map: str = "front-left,front-right", rate_hz: int = 48_000
    ) -> None:
        """Plug in a microphone: its room is a null sink, and it becomes the default."""
        if name in self._rooms:
            return
        channels = channel_map.count(",") + 1
        self._rooms[name] = self._load(
            "module-null-sink",
            f"sink_name={name}",
            f"rate={rate_hz}",
            f"channels={channels}",
            f"channel_map={channel_map}",
        )
        self._pactl("set-default-source", f"{name}.monitor")
        self._pactl("set-default-sink", name)

    def add_microphone(self, name: str, description: str, room: str = "room") -> None:
        """Plug in a source that is no monitor; it records what is played into a room."""
        self._rooms[name] = self._load(
            "module-remap-source",
            f"source_name={name}",
            f"master={room}.monitor",
            f"source_properties=\"device.description='{description}'\"",
        )

    def set_default_source(self, name: str) -> None:
        """Make it the default."""
        self._pactl("set-default-source", name)

    def remove_room(self, name: str = "room") -> None:
        """Unplug the microphone."""
        self._pactl("unload-module", self._rooms.pop(name))

    def remove_all_rooms(self) -> None:
        """Unplug whatever is plugged in."""
        for name in reversed(list(self._rooms)):  # what hears a room goes before the room
            self.remove_room(name)
        self._end_players()

    def play(self, path: Path, room: str = "room", *options: str) -> subprocess.Popen[bytes]:
        """Start playing a sound file into a room, until the room goes."""
        player = subprocess.Popen(
            ["paplay", f"--device={room}", *options, str(path)],
            env={**os.environ, **self.environment},
            stderr=subprocess.DEVNULL,  # it complains when its room goes
        )
        self._players.append(player)
        return player

    def _end_players(self) -> None:
        while self._players:
            player = self._players.pop()
            player.kill()
            player.wait()

    def _load(self, *arguments: str) -> str:
        return self._pactl("load-module", *arguments).stdout.strip()

    def _pactl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pactl", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=check,
        )


class PipeWireSystem(SoundSystem):
    """PipeWire with its session manager and its server for PulseAudio's clients."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.environment |= {
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CONFIG_HOME": f"{folder}/config",
            "HOME": str(folder),
        }

    def start(self) -> None:
        """Start the server, with no room; it is ready once its session manager has made a source of its own."""
        super().start()
        deadline = time.monotonic() + START_SECONDS
        while "auto_null.monitor" not in self._pactl("list", "short", "sources").stdout:
            if time.monotonic() > deadline:
                raise RuntimeError("PipeWire's session manager did not start")
            time.sleep(0.05)

    def _command(self, socket: Path) -> list[str]:
        del socket  # it is the same: $PULSE_RUNTIME_PATH/native
        return ["dbus-run-session", "--", "sh", "-c", "pipewire & sleep 0.5; wireplumber & exec pipewire-pulse"]


def require_pipewire() -> None:
    """Skip the test, naming the Debian package that is missing."""
    require_sound_system()
    packages = {"pipewire": "pipewire", "pipewire-pulse": "pipewire-pulse", "wireplumber": "wireplumber"}
    for program, package in {**packages, "dbus-run-session": "dbus-daemon"}.items():
        if shutil.which(program) is None:
            pytest.skip(f"needs the package {package}")
