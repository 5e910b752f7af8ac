"""A real mosquitto for one test, certificates for it, and a subscriber that keeps what it receives."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Received:
    """One message as a subscriber received it; `retained` tells that the broker had retained it."""

    topic: str
    payload: str
    retained: bool


class Listener:
    """A subscriber to everything, on a thread of its own."""

    def __init__(self, port: int, topic: str = "#") -> None:
        self._messages: list[Received] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._receive
        self._client.reconnect_delay_set(0.1, 0.2)  # type: ignore[arg-type]  # fractions work
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(TIMEOUT_SECONDS), "the broker accepted no subscription"

    def _receive(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._messages.append(Received(message.topic, message.payload.decode(errors="replace"), message.retain))
            self._changed.notify_all()

    @property
    def messages(self) -> list[Received]:
        """Everything received so far, in order."""
        with self._changed:
            return list(self._messages)

    def on(self, topic: str) -> list[str]:
        """The payloads of one topic, in order."""
        return [message.payload for message in self.messages if message.topic == topic]

    def wait(
        self, condition: Callable[[Listener], bool], what: str = "", timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Return once the condition holds; fails the test if it never does."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while not condition(self):
                left = deadline - time.monotonic()
                assert left > 0, f"{what or 'the message'} did not arrive; received: {self._messages[-20:]}"
                self._changed.wait(left)

    def publish(self, topic: str, payload: str | bytes | None, *, retain: bool = False) -> None:
        """Publish and wait for the acknowledgement."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(TIMEOUT_SECONDS)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class Broker:
    """A mosquitto process on a free port."""

    def __init__(self, folder: Path, lines: list[str]) -> None:
        self.port = free_port()
        self._listeners: list[Listener] = []
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        text = [f"listener {self.port} 127.0.0.1", "log_type all", *lines]
        if not any(line.startswith("persistence ") for line in lines):
            text.append("persistence false")
        if os.geteuid() == 0:
            # Else it becomes the user mosquitto, who may not read the test's files.
            text.append("user root")
        self._config.write_text("\n".join(text) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What mosquitto logged."""
        return self._log.read_text()

    def start(self) -> None:
        """Start, and return once the port answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([find_mosquitto(), "-c", self._config], stdout=log, stderr=log)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, self.log
            time.sleep(0.05)
        raise AssertionError("mosquitto does not answer")

    def kill(self) -> None:
        """Kill the process; it persists nothing."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop it as a service manager does: it persists its state if it is configured to."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        self._process.wait(TIMEOUT_SECONDS)
        self._process = None

    def pause(self) -> None:
        """Stop the process; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue."""
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Make it read its configuration and access rules again, and return once it does."""
        reloads = self.log.count("Reloading config")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.log.count("Reloading config") == reloads:
            assert time.monotonic() < deadline, self.log
            self._signal(signal.SIGHUP)  # again: one was seen to get lost
            time.sleep(0.5)

    def listen(self) -> Listener:
        """A new subscriber to every topic."""
        self._listeners.append(Listener(self.port))
        return self._listeners[-1]

    def close(self) -> None:
        """Stop it and its subscribers."""
        if self._process is not None:
            self.resume()
        for listener in self._listeners:
            listener.close()
        if self._process is not None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@dataclass(frozen=True)
class Certificates:
    """An authority, a broker's certificate for 127.0.0.1 and localhost, and a client's."""

    authority: Path
    broker: Path
    broker_key: Path
    client: Path
    client_key: Path


def run_openssl(folder: Path, arguments: str) -> None:
    """Run openssl in a folder; skips the test where it is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the package openssl")
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)


def find_mosquitto() -> str:
    """Where mosquitto is; skips the test where it is missing."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip("needs the package mosquitto")
    return path


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses.

    It lies below the ports that the system gives to outgoing connections: one of those could take it while a broker
    restarts.
    """
    while True:
        port = random.randint(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
