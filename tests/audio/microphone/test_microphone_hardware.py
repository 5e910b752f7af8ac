"""A microphone over real PortAudio, ALSA and PulseAudio: what is played into the room is what is heard."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.sound_system import SoundSystem

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.microphone.microphone import Microphone

LOST_SECONDS = 5.0

pytestmark = pytest.mark.slow


async def until(items: AsyncGenerator[SourceItem, None], wanted: type, seconds: float = 60.0) -> SourceItem:
    """Return the next item of that kind."""
    async with asyncio.timeout(seconds):
        async for item in items:
            if isinstance(item, wanted):
                return item
    raise AssertionError("the source ended")


async def hear(items: AsyncGenerator[SourceItem, None], seconds: float) -> np.ndarray:
    """Return the next seconds of one stream; a hole or a loss fails the test."""
    heard: list[Block] = []
    async for item in items:
        assert isinstance(item, Block), item
        assert not heard or item.first_sample == heard[-1].end_sample
        heard.append(item)
        if sum(len(block.samples) for block in heard) >= seconds * RATE_HZ:
            break
    return np.concatenate([block.samples for block in heard])


def write_chirp(path: Path) -> np.ndarray:
    """Write two seconds of a rising tone, which fits to itself in one place only, and return it.

    A second of silence comes before it: a null sink swallows the first moments of what is played.
    """
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    samples = (0.5 * np.sin(2 * np.pi * (200 + 400 * time) * time)).astype(np.float32)
    soundfile.write(path, np.concatenate([np.zeros(RATE_HZ, dtype=np.float32), samples]), RATE_HZ, subtype="FLOAT")
    return samples


def test_hears_exactly_what_is_played(sound_system: SoundSystem, tmp_path: Path) -> None:
    played = write_chirp(tmp_path / "chirp.wav")

    async def run() -> np.ndarray:
        source = Microphone("kitchen", "pulse")
        async with aclosing(source.items()) as items:
            await until(items, StreamOpened)
            player = sound_system.play(tmp_path / "chirp.wav")
            heard = await hear(items, 7.0)
            assert player.wait() == 0
            assert source.dropped_blocks == 0
        return heard

    heard = asyncio.run(run())
    place = int(np.argmax(np.correlate(heard, played[: RATE_HZ // 2], mode="valid")))
    np.testing.assert_allclose(heard[place : place + len(played)], played, atol=1e-3)


def test_opens_with_about_the_right_time(sound_system: SoundSystem) -> None:
    async def run() -> tuple[datetime, datetime]:
        async with aclosing(Microphone("kitchen", "pulse").items()) as items:
            opened = await until(items, StreamOpened)
        assert isinstance(opened, StreamOpened)
        return opened.started, datetime.now(UTC)

    started, now = asyncio.run(run())
    assert 0 < (now - started).total_seconds() < 5


@pytest.mark.parametrize("fault", ["unplugged", "server killed"])
def test_is_lost_and_comes_back(sound_system: SoundSystem, tmp_path: Path, fault: str) -> None:
    write_chirp(tmp_path / "chirp.wav")

    async def run() -> None:
        source = Microphone("kitchen", "pulse")
        async with aclosing(source.items()) as items:
            await until(items, Block)
            if fault == "unplugged":
                sound_system.remove_room()
            else:
                sound_system.kill()
            await until(items, StreamLost, LOST_SECONDS)
            if not sound_system.running:
                sound_system.start()
            sound_system.add_room()
            await until(items, StreamOpened)
            assert source.reconnects == 1
            player = sound_system.play(tmp_path / "chirp.wav")
            assert np.abs(await hear(items, 5.0)).max() > 0.4
            assert player.wait() == 0

    asyncio.run(run())


def test_a_frozen_server_is_a_lost_microphone(sound_system: SoundSystem) -> None:
    async def run() -> None:
        async with aclosing(Microphone("kitchen", "pulse").items()) as items:
            await until(items, Block)
            with sound_system.frozen():
                await until(items, StreamLost, LOST_SECONDS)
            await until(items, StreamOpened)

    asyncio.run(run())


def test_absent_at_start(sound_system: SoundSystem) -> None:
    sound_system.remove_room()

    async def run() -> None:
        async with aclosing(Microphone("kitchen", "pulse").items()) as items:
            await until(items, StreamLost, 15.0)
            sound_system.add_room()
            await until(items, StreamOpened)

    asyncio.run(run())


def test_losing_one_microphone_leaves_the_other_alone(sound_system: SoundSystem) -> None:
    sound_system.add_room("kitchen")
    sound_system.add_room("bath")

    async def run() -> None:
        kitchen, bath = Microphone("kitchen", "kitchen"), Microphone("bath", "BATH")
        async with aclosing(kitchen.items()) as healthy, aclosing(bath.items()) as broken:
            await until(healthy, Block)
            await until(broken, Block)
            sound_system.remove_room("bath")
            coming_back = asyncio.create_task(lose_and_recover(broken))
            await hear(healthy, 4.0)  # bath is being looked for meanwhile
            sound_system.add_room("bath")
            await hear(healthy, 4.0)
            await coming_back
        assert (kitchen.dropped_blocks, kitchen.reconnects, bath.reconnects) == (0, 0, 1)

    async def lose_and_recover(items: AsyncGenerator[SourceItem, None]) -> None:
        await until(items, StreamLost, LOST_SECONDS)
        await until(items, StreamOpened)

    asyncio.run(run())


def test_an_unknown_device_lists_what_is_available(sound_system: SoundSystem) -> None:
    async def run() -> StreamLost:
        async with aclosing(Microphone("kitchen", "no such device").items()) as items:
            lost = await anext(items)
        assert isinstance(lost, StreamLost)
        return lost

    sound_system.add_room("kitchen")
    reason = asyncio.run(run()).reason
    assert reason.startswith("device 'no such device' not found; available: ")
    assert "kitchen" in reason


@pytest.mark.usefixtures("sound_system")
def test_lists_the_devices() -> None:
    listing = "from clapstream.audio.microphone.devices import devices; print(*map(repr, devices()), sep='\\n')"
    listed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert "name='room', host_api='ALSA', channels=32, rate_hz=44100" in listed.stdout
    assert listed.stdout.count("default=True") == 1
