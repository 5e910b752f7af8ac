"""Passwords of cameras and of the broker show nowhere: not in logs, on the dashboard or in MQTT messages."""

from __future__ import annotations

import http.server
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from support.real_broker import Broker

pytest.importorskip("av", reason="needs the extra stream")

SECRETS = re.compile("hunter2|secretuser|hun%2Fter2")
TIMEOUT_SECONDS = 120.0


class RefusingCamera(http.server.BaseHTTPRequestHandler):
    """Refuses some requests, and answers others with what is no sound."""

    def do_GET(self) -> None:
        if "forbidden" in self.path:
            self.send_error(403)
            return
        if "/resolve/" in self.path:
            self.send_error(418)
            return
        if "moved" in self.path:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/forbidden?pwd=hunter2")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"this is no sound" * 1000)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def camera() -> Iterator[str]:
    """Address of an HTTP server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RefusingCamera) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def urls(camera: str) -> list[str]:
    """URLs with secrets wherever brands of cameras put them; nothing listens on port 9."""
    return [
        "rtsp://secretuser:hunter2@127.0.0.1:9/1",
        "rtsp://secretuser:hun%2Fter2@127.0.0.1:9/1",
        "rtsp://secretuser:@hunter2@127.0.0.1:9/1",
        "rtsp://127.0.0.1:9/user=secretuser&password=hunter2&channel=1",
        "rtsp://127.0.0.1:9/user=secretuser_password=hunter2_channel=1_stream=0.sdp",
        "rtsp://127.0.0.1:9/secretuser/hunter2/1",
        f"http://{camera}/forbidden?usr=secretuser&pwd=hunter2",
        f"http://secretuser:hunter2@{camera}/moved/hunter2",
        f"http://{camera}/secretuser/hunter2#hunter2",
    ]


Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a clapstream whose terminal, if it has one, and log are written to a file."""
    started: list[subprocess.Popen[bytes]] = []

    def run(settings: dict[str, object], *arguments: str, terminal: bool = False) -> Path:
        config, written = tmp_path / "clapstream.yaml", tmp_path / "written"
        directories = {"cache_directory": str(tmp_path / "cache"), "state_directory": str(tmp_path / "state")}
        config.write_text(yaml.safe_dump({**directories, **settings}))
        command = [sys.executable, "-m", "clapstream", "run", *arguments, "-c", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "200", "LINES": "60"}
        if not terminal:
            with written.open("wb") as file:
                started.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
                )
            return written
        written.touch()
        outer, inner = pty.openpty()
        started.append(subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment))
        os.close(inner)
        threading.Thread(target=_copy, args=(outer, written), daemon=True).start()
        return written

    yield run
    for process in started:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _copy(outer: int, written: Path) -> None:
    with written.open("ab", buffering=0) as file:
        while True:
            try:
                data = os.read(outer, 65_536)
            except OSError:  # the process has ended
                break
            if not data:
                break
            file.write(data)
    os.close(outer)


def wait_for(written: Path, found: Callable[[str], bool]) -> str:
    """What was written, once it is as wanted."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not found(text := written.read_text(errors="replace")):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    return text


def settings(camera: str, broker: Broker, **login: str) -> dict[str, object]:
    sources = [{"name": f"cam{number}", "type": "stream", "url": url} for number, url in enumerate(urls(camera))]
    return {"node": "home", "sources": sources, "mqtt": {"host": "127.0.0.1", "port": broker.port, **login}}


@pytest.mark.slow
def test_no_secret_is_logged_or_published(camera: str, broker: Broker, start: Start) -> None:
    listener = broker.listen()
    written = start(settings(camera, broker), "-v", "--no-dashboard")
    count = len(urls(camera))
    text = wait_for(written, lambda text: all(f"source cam{n}: offline (" in text for n in range(count)))
    listener.wait(
        lambda heard: all("offline" in heard.on(f"clapstream/home/cam{n}/availability") for n in range(count)),
        "availability",
    )
    assert "rtsp://127.0.0.1:9" in text
    assert f"http://{camera}" in text
    published = "\n".join(f"{message.topic} {message.payload}" for message in listener.messages)
    for shown in (text, published):
        assert not SECRETS.search(shown), shown


@pytest.mark.slow
def test_no_secret_is_drawn(camera: str, make_broker: Callable[..., Broker], tmp_path: Path, start: Start) -> None:
    broker = make_broker("allow_anonymous false")
    broker.start()
    (tmp_path / "password").write_text("hunter2\n")
    login = {"username": "secretuser", "password_file": str(tmp_path / "password")}
    written = start(settings(camera, broker, **login), "-v", "--dashboard", terminal=True)
    text = wait_for(written, lambda text: text.count("127.0.0.1:9") >= 6 and "offline" in text)
    assert not SECRETS.search(text), text


@pytest.mark.slow
def test_no_secret_of_a_hub_mirror_is_logged(camera: str, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    config = tmp_path / "clapstream.yaml"
    config.write_text("model: {checkpoint: someone/something}")
    mirror = {"HF_ENDPOINT": f"http://secretuser:hunter2@{camera}", "HF_HOME": str(tmp_path / "hub")}
    command = [sys.executable, "-m", "clapstream", "bench", "-v", "-c", str(config)]
    found = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **mirror}, timeout=TIMEOUT_SECONDS, check=False
    )
    assert found.returncode == 1
    assert "the hub answers 418" in found.stderr
    assert not SECRETS.search(found.stdout + found.stderr), found.stderr
