"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.real_broker import Broker, Certificates, find_mosquitto, run_openssl
from support.small_disk import SmallDisk, mounted_disk
from support.sound_system import SoundSystem, require_sound_system

# How fast a machine makes examples, and how long it takes over one, is no property of what is tested.
settings.register_profile("clapstream", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("clapstream")


@pytest.fixture(scope="session")
def sound_server() -> Iterator[SoundSystem]:
    """A PulseAudio server for the whole session, which this process and its children use."""
    require_sound_system()
    folder = Path(tempfile.mkdtemp(prefix="sound"))  # pytest's own folders are too long a path for a socket
    system = SoundSystem(folder)
    before = {name: os.environ.get(name) for name in system.environment}
    os.environ.update(system.environment)
    try:
        system.start()
        yield system
    finally:
        system.kill()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(folder)


@pytest.fixture
def sound_system(sound_server: SoundSystem) -> Iterator[SoundSystem]:
    """The running server with one room, "room": PortAudio's device "pulse" hears what `play` plays."""
    if not sound_server.running:
        sound_server.start()
    sound_server.add_room()
    yield sound_server
    sound_server.remove_all_rooms()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Broker]]:
    """Makes brokers (not started) from lines of configuration."""
    find_mosquitto()
    with contextlib.ExitStack() as stack:

        def make(*lines: str) -> Broker:
            broker = Broker(tmp_path, list(lines or ["allow_anonymous true"]))
            stack.callback(broker.close)
            return broker

        yield make


@pytest.fixture
def broker(make_broker: Callable[..., Broker]) -> Broker:
    """A started broker that lets everyone in."""
    broker = make_broker()
    broker.start()
    return broker


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of the tests' own, made with openssl."""
    folder = tmp_path_factory.mktemp("certificates")
    names = folder / "names.cnf"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run_openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=authority")
    for name in ("broker", "client"):
        run_openssl(folder, f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        sign = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 30"
        run_openssl(folder, f"{sign} -extfile names.cnf" if name == "broker" else sign)
    files = ("ca.pem", "broker.pem", "broker.key", "client.pem", "client.key")
    return Certificates(*(folder / name for name in files))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of 128 KiB in memory."""
    with mounted_disk(tmp_path / "disk") as disk:
        yield disk
