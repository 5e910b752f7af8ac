"""A real Home Assistant for one test: set up as a user would do it, over its own HTTP and WebSocket interfaces.

https://developers.home-assistant.io/docs/api/websocket and https://developers.home-assistant.io/docs/auth_api
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.client

from support.real_broker import free_port

TIMEOUT_SECONDS = 120.0
VARIABLE = "CLAPSTREAM_TEST_HASS"
INSTALL = (
    "python3.13 -m venv hass && "
    "hass/bin/pip install homeassistant==2025.4.4 home-assistant-frontend==20250411.0 paho-mqtt==2.1.0"
)
"""The frontend and paho-mqtt are what this release would otherwise install itself at its first start."""

State = Mapping[str, Any]
"""An entity's `entity_id`, `state` and `attributes`, as Home Assistant reports them."""


class HomeAssistant:
    """A `hass` process with a configuration folder and a user of its own, listening on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "hass.log"
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        folder.mkdir()
        lines = ["http:", "  server_host: 127.0.0.1", f"  server_port: {port}", "logger:", "  default: info"]
        (folder / "configuration.yaml").write_text("\n".join(lines) + "\n")
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._resources = contextlib.ExitStack()
        self._connection: websockets.sync.client.ClientConnection | None = None
        self._last_id = 0
        self.history: list[State] = []

    @property
    def log(self) -> str:
        """Everything that Home Assistant logged, over all its starts."""
        return self._log.read_text()

    def problems(self, about: str) -> list[str]:
        """Warnings, errors and lines of tracebacks in the log that contain a text."""
        quiet = (" INFO ", " DEBUG ")
        return [line for line in self.log.splitlines() if about in line and not any(word in line for word in quiet)]

    def start(self) -> None:
        """Start it, log in (the first time as a new user), and return once it runs."""
        with self._log.open("ab") as log:
            command = [find_hass(), "--config", str(self._folder), "--skip-pip"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait_until(self._answers, "an answer from Home Assistant")
        if not self._token:
            self._token = self._create_user()
        self._connect()
        self.wait_until(lambda: self.request("get_config")["state"] == "RUNNING", "the end of the start")

    def add_mqtt(self, broker_port: int) -> None:
        """Add the MQTT integration by its dialog."""
        dialogs = "/api/config/config_entries/flow"
        dialog = self._post(dialogs, {"handler": "mqtt"})
        done = self._post(f"{dialogs}/{dialog['flow_id']}", {"broker": "127.0.0.1", "port": broker_port})
        assert done["type"] == "create_entry", done

    def request(self, command: str, **fields: object) -> Any:
        """The result of a WebSocket command; fails the test where Home Assistant refuses it."""
        self._last_id += 1
        self._send({"id": self._last_id, "type": command, **fields})
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            answer = self._receive(deadline - time.monotonic())
            assert answer is not None, f"no answer to {command}"
            if answer["type"] == "result" and answer["id"] == self._last_id:
                assert answer["success"], answer
                return answer["result"]

    def call(self, service: str, entity_id: str) -> None:
        """Call a service, such as `switch.turn_off`, on one entity."""
        domain, _, name = service.partition(".")
        self.request("call_service", domain=domain, service=name, target={"entity_id": entity_id})

    def states(self) -> dict[str, State]:
        """The present state of every entity by entity id."""
        return {state["entity_id"]: state for state in self.request("get_states")}

    def wait_for_state(self, entity_id: str, condition: Callable[[State], bool], after: int = 0) -> State:
        """The first state of an entity, from this index of `history` on, that fulfils a condition."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            for state in self.history[after:]:
                if state["entity_id"] == entity_id and condition(state):
                    return state
            after = len(self.history)
            left = deadline - time.monotonic()
            assert left > 0, f"{entity_id} did not change as expected; now: {self.states().get(entity_id)}"
            self._receive(left)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once the condition holds; fails the test if it never does."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; log: {self.log[-5_000:]}"
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it as a service manager does; it then writes its registries."""
        assert self._process is not None
        self._disconnect()
        self._process.terminate()
        self._process.wait(TIMEOUT_SECONDS)
        self._process = None

    def close(self) -> None:
        """Kill it if it still runs."""
        self._disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            urllib.request.urlopen(f"{self._url}/manifest.json", timeout=5).close()
        except OSError:
            return False
        return True

    def _create_user(self) -> str:
        """An access token, which is valid for 30 minutes and over restarts."""
        client = {"client_id": f"{self._url}/"}
        user = {"name": "tester", "username": "tester", "password": "loopback only", "language": "en"}
        code = self._post("/api/onboarding/users", {**client, **user})["auth_code"]
        form = {**client, "grant_type": "authorization_code", "code": code}
        return str(self._send_request("/auth/token", urllib.parse.urlencode(form).encode(), {})["access_token"])

    def _post(self, path: str, fields: Mapping[str, object]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return self._send_request(path, json.dumps(fields).encode(), headers)

    def _send_request(self, path: str, body: bytes, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self._url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from None

    def _connect(self) -> None:
        address = f"ws{self._url.removeprefix('http')}/api/websocket"
        # Events wait in the queue until the test reads them.
        self._connection = self._resources.enter_context(
            websockets.sync.client.connect(address, max_queue=None, max_size=None, proxy=None)
        )
        self._receive(TIMEOUT_SECONDS)
        self._send({"type": "auth", "access_token": self._token})
        answer = self._receive(TIMEOUT_SECONDS)
        assert answer is not None and answer["type"] == "auth_ok", answer
        self.request("subscribe_events", event_type="state_changed")

    def _disconnect(self) -> None:
        self._resources.close()
        self._connection = None

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._connection is not None
        self._connection.send(json.dumps(message))

    def _receive(self, seconds: float) -> Any:
        """The next message, of which state changes go to the history; None if none comes in time."""
        assert self._connection is not None
        with contextlib.suppress(TimeoutError):
            message = json.loads(self._connection.recv(timeout=max(seconds, 0.0)))
            if message["type"] == "event" and message["event"]["data"]["new_state"] is not None:
                self.history.append(message["event"]["data"]["new_state"])
            return message
        return None


def find_hass() -> str:
    """Where Home Assistant's `hass` is; skips the test where it is missing."""
    path = os.environ.get(VARIABLE) or shutil.which("hass")
    if path is None:
        pytest.skip(f"needs Home Assistant; install it with `{INSTALL}` and set {VARIABLE}=hass/bin/hass")
    return path
