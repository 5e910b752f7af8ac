"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sound_system import SoundSystem, require_sound_system


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
