"""Sources of PulseAudio and PipeWire, recorded as they are: what is played into each room is what is heard."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.sound_system import PipeWireSystem, SoundSystem, require_pipewire

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost
from clapstream.audio.microphone.capture_process import Capture, open_capture
from clapstream.audio.microphone.microphone import Microphone

pytestmark = pytest.mark.slow

STEREO = "front-left,front-right"
SURROUND = "front-left,front-right,front-center,lfe,rear-left,rear-right"
AUXILIARY = "aux0,aux1,aux2,aux3,aux4,aux5"
TONES_HZ = (500, 900, 1300, 1700, 2100, 2500)
SILENT_DB = -60.0
TIMEOUT_SECONDS = 90.0


@pytest.fixture(params=["PulseAudio", "PipeWire"])
def any_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoundSystem]:
    """A running server without a room, of either kind."""
    if request.param == "PulseAudio":
        system = request.getfixturevalue("sound_system")
        system.remove_all_rooms()
        yield system
        return
    require_pipewire()
    folder = Path(tempfile.mkdtemp(prefix="sound"))
    system = PipeWireSystem(folder)
    for name, value in system.environment.items():
        monkeypatch.setenv(name, value)
    try:
        system.start()
        yield system
    finally:
        system.kill()
        shutil.rmtree(folder, ignore_errors=True)


def write_tones(
    path: Path, amplitudes: Sequence[float], seconds: int = 60, tones: Sequence[int] = TONES_HZ
) -> Path:
    """Write one channel for each amplitude, each with a tone of its own."""
    time = np.arange(seconds * RATE_HZ) / RATE_HZ
    columns = [
        amplitude * np.sin(2 * np.pi * tone * time) for amplitude, tone in zip(amplitudes, tones, strict=False)
    ]
    soundfile.write(path, np.stack(columns, axis=1).astype(np.float32), RATE_HZ, subtype="FLOAT")
    return path


def tones_heard(samples: np.ndarray) -> list[float]:
    """The level of each of `TONES_HZ` in dB of full scale."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) * 4 / len(samples)
    places = [round(tone * len(samples) / RATE_HZ) for tone in TONES_HZ]
    return [20 * float(np.log10(spectrum[place - 3 : place + 4].max() + 1e-9)) for place in places]


@asynccontextmanager
async def capturing(device: str) -> AsyncGenerator[Capture, None]:
    capture = await open_capture(device, "mix")
    try:
        yield capture
    finally:
        await capture.close()


async def hear(source: Microphone, tone_db: float = -40.0, seconds: float = 1.0) -> list[float]:
    """Return the levels of the tones as soon as one of them is heard for a while."""
    async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as items:
        return await hear_on(items, tone_db, seconds)


async def hear_on(
    items: AsyncGenerator[SourceItem, None], tone_db: float = -40.0, seconds: float = 1.0
) -> list[float]:
    heard: list[np.ndarray] = []
    async for item in items:
        assert not isinstance(item, StreamLost), item.reason
        if not isinstance(item, Block):
            continue
        heard.append(item.samples)
        if sum(map(len, heard)) >= 2 * seconds * RATE_HZ:
            levels = tones_heard(np.concatenate(heard)[-round(seconds * RATE_HZ) :])
            if max(levels) > tone_db:
                return levels
            heard = heard[len(heard) // 2 :]
    raise AssertionError("the source ended")


async def lost_reason(items: AsyncGenerator[SourceItem, None]) -> str:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for item in items:
            if isinstance(item, StreamLost):
                return item.reason
    raise AssertionError("the source ended")


def loud(levels: list[float]) -> list[int]:
    """Which tones are heard."""
    return [index for index, level in enumerate(levels) if level > SILENT_DB]


class TestChannels:
    def test_a_tone_on_the_right_only(self, any_server: SoundSystem, tmp_path: Path) -> None:
        any_server.add_room("room", STEREO)
        any_server.play(write_tones(tmp_path / "right.wav", [0.0, 0.5]))

        async def run() -> None:
            right, default, mix = await asyncio.gather(
                hear(Microphone("a", "room.monitor", "right")),
                hear(Microphone("b", None, 1)),
                hear(Microphone("c", "room.monitor", "mix")),
            )
            assert right[1] == pytest.approx(-6.0, abs=0.5)
            assert default[1] == pytest.approx(-6.0, abs=0.5)
            assert mix[1] == pytest.approx(-12.0, abs=0.5)
            left = [hear(Microphone("d", device, "left"), tone_db=-200.0) for device in ("room.monitor", None)]
            assert [loud(levels) for levels in await asyncio.gather(*left)] == [[], []]

        asyncio.run(run())

    def test_through_alsa_devices_that_lead_to_the_server(self, sound_system: SoundSystem, tmp_path: Path) -> None:
        sound_system.remove_all_rooms()
        sound_system.add_room("room", SURROUND)
        sound_system.play(write_tones(tmp_path / "six.wav", [0.1] * 6), "room", f"--channel-map={SURROUND}")

        async def run() -> list[list[int]]:
            choices = [(device, channel) for device in ("pulse", "room") for channel in ("left", 5)]
            heard = [hear(Microphone("kitchen", device, channel)) for device, channel in choices]
            return [loud(levels) for levels in await asyncio.gather(*heard)]

        assert asyncio.run(run()) == [[0], [5], [0], [5]]

    def test_each_of_six(self, any_server: SoundSystem, tmp_path: Path) -> None:
        channel_map = AUXILIARY if isinstance(any_server, PipeWireSystem) else SURROUND
        any_server.add_room("array", channel_map)
        any_server.play(write_tones(tmp_path / "six.wav", [0.1] * 6), "array", f"--channel-map={channel_map}")

        async def run() -> None:
            channels: list[str | int] = [0, 1, 2, 3, 4, 5, "left", "right", "mix"]
            heard = await asyncio.gather(*(hear(Microphone(str(each), "array", each)) for each in channels))
            assert [loud(levels) for levels in heard] == [
                [0],
                [1],
                [2],
                [3],
                [4],
                [5],
                [0],
                [1],
                [0, 1, 2, 3, 4, 5],
            ]
            async with aclosing(Microphone("seventh", "array", 6).items()) as items:
                assert await lost_reason(items) == (
                    "array.monitor has 6 channels: there is no channel 6; "
                    "set channel to mix, left, right or an index from 0 to 5"
                )

        asyncio.run(run())

    def test_channels_that_cancel_out_are_warned_of(
        self, sound_system: SoundSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        sound_system.play(write_tones(tmp_path / "inverse.wav", [0.5, -0.5], tones=(500, 500)))

        async def run() -> None:
            source = Microphone("kitchen", "room.monitor", "mix")
            async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as items:
                async for item in items:
                    assert not isinstance(item, StreamLost)
                    if isinstance(item, Block) and item.end_sample > 7 * RATE_HZ:
                        assert np.abs(item.samples).max() < 1e-3
                        break

        with caplog.at_level(logging.WARNING):
            asyncio.run(run())
        assert caplog.messages == [
            "source kitchen: its 2 channels cancel each other out, so that their mix is silence; "
            "set channel to left or right"
        ]

    @pytest.mark.parametrize("rate_hz", [16_000, 44_100])
    def test_mono_at_a_rate_of_its_own(self, sound_system: SoundSystem, tmp_path: Path, rate_hz: int) -> None:
        sound_system.remove_all_rooms()
        sound_system.add_room("room", "mono", rate_hz)
        recording = write_tones(tmp_path / "mono.wav", [0.5])

        async def run() -> None:
            async with asyncio.timeout(TIMEOUT_SECONDS), capturing("room.monitor") as capture:
                capture_format = await capture.read_format()
                assert (capture_format.channels, capture_format.rate_hz) == (1, rate_hz)
            async with aclosing(Microphone("a", "room.monitor", "left").items()) as items:
                await anext(items)
                sound_system.play(recording)
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    assert (await hear_on(items))[0] == pytest.approx(-6.0, abs=0.5)
            async with aclosing(Microphone("b", "room.monitor", "right").items()) as items:
                assert "room.monitor has 1 channel: there is no channel right" in await lost_reason(items)

        asyncio.run(run())


class TestNames:
    def test_two_at_once_and_two_of_one(self, any_server: SoundSystem, tmp_path: Path) -> None:
        any_server.add_room("room")
        any_server.add_room("bath")
        any_server.add_microphone("mic_kitchen", "Küche links")
        any_server.add_microphone("mic_bath", "Bad", "bath")
        any_server.play(write_tones(tmp_path / "room.wav", [0.1], tones=(500,)), "room")
        any_server.play(write_tones(tmp_path / "bath.wav", [0.1], tones=(900,)), "bath")
        devices = [
            "mic_kitchen",
            "Küche links",
            "KÜCHE L",
            "Ku\u0308che links",
            "mic_bath",
            "MIC_B",
            "bath.monitor",
            "bath.mon",
        ]

        async def run() -> list[list[int]]:
            return [
                loud(each) for each in await asyncio.gather(*(hear(Microphone(each, each)) for each in devices))
            ]

        assert asyncio.run(run()) == [[0], [0], [0], [0], [1], [1], [1], [1]]

    def test_what_matches_equally_well_is_named(self, sound_system: SoundSystem) -> None:
        sound_system.add_microphone("usb_1", "USB Audio")
        sound_system.add_microphone("usb_2", "USB Audio")

        async def run() -> str:
            async with aclosing(Microphone("kitchen", "usb audio").items()) as items:
                return await lost_reason(items)

        assert asyncio.run(run()) == (
            "2 microphones match 'usb audio': usb_1 (USB Audio), usb_2 (USB Audio); set device to the name of one"
        )

    def test_an_unknown_name_lists_what_is_available(self, sound_system: SoundSystem) -> None:
        async def run() -> str:
            async with aclosing(Microphone("kitchen", "nowhere").items()) as items:
                return await lost_reason(items)

        reason = asyncio.run(run())
        assert reason.startswith("device 'nowhere' not found; available: room.monitor (Monitor of ")

    def test_without_a_server_the_error_says_so(self, sound_system: SoundSystem) -> None:
        sound_system.kill()

        async def run() -> str:
            async with aclosing(Microphone("kitchen", "nowhere").items()) as items:
                return await lost_reason(items)

        assert "(no PulseAudio or PipeWire server: Connection refused)" in asyncio.run(run())


class TestChanges:
    def test_a_source_that_goes_is_lost_and_comes_back(self, any_server: SoundSystem, tmp_path: Path) -> None:
        """Nor is another room listened to meanwhile, whatever the server would connect instead."""
        any_server.add_room("bath")
        any_server.add_room("room")
        any_server.play(write_tones(tmp_path / "bath.wav", [0.1], tones=(900,)), "bath")

        async def run() -> None:
            source = Microphone("kitchen", "room.monitor")
            async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as items:
                async for item in items:
                    if isinstance(item, Block):
                        break
                any_server.remove_room("room")
                heard = []
                async for item in items:
                    if isinstance(item, StreamLost):
                        assert item.reason == "room.monitor was removed"
                        break
                    assert isinstance(item, Block)
                    heard.append(item.samples)
                assert not heard or loud(tones_heard(np.concatenate(heard))) == []
                any_server.add_room("room", SURROUND)
                recording = write_tones(tmp_path / "room.wav", [0.0, 0.0, 0.0, 0.0, 0.0, 0.5])
                any_server.play(recording, "room", f"--channel-map={SURROUND}")
                assert 5 in loud(await hear_on(items, -30.0))  # with the channels that it has now

        asyncio.run(run())

    def test_the_default_is_followed(self, any_server: SoundSystem, tmp_path: Path) -> None:
        any_server.add_room("bath", "mono")
        any_server.add_room("room")
        any_server.play(write_tones(tmp_path / "bath.wav", [0.1], tones=(900,)), "bath")

        async def run() -> None:
            async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(Microphone("kitchen").items()) as items:
                async for item in items:
                    if isinstance(item, Block):
                        break
                any_server.set_default_source("bath.monitor")
                reason = await lost_reason(items)
                assert reason == "the default source changed from room.monitor to bath.monitor"
                assert loud(await hear_on(items)) == [1]

        asyncio.run(run())

    def test_a_restarted_server(self, sound_system: SoundSystem, tmp_path: Path) -> None:
        async def run() -> None:
            source = Microphone("kitchen", "room.monitor", "right")
            async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as items:
                async for item in items:
                    if isinstance(item, Block):
                        break
                sound_system.kill()
                assert "lost connection to the sound server" in await lost_reason(items)
                sound_system.start()
                sound_system.add_room("room", SURROUND)
                recording = write_tones(tmp_path / "six.wav", [0.1] * 6)
                sound_system.play(recording, "room", f"--channel-map={SURROUND}")
                assert loud(await hear_on(items)) == [1]

        asyncio.run(run())


class TestDevicesCommand:
    def run(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clapstream", "devices", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=check)

    def test_lists_sources_with_their_names(self, any_server: SoundSystem) -> None:
        any_server.add_room("room", SURROUND)
        any_server.add_microphone("mic_kitchen", "Küche links")
        any_server.set_default_source("mic_kitchen")
        kind = "PipeWire" if isinstance(any_server, PipeWireSystem) else "PulseAudio"
        found = {each["name"]: each for each in map(json.loads, self.run("--json").stdout.splitlines())}
        assert found["mic_kitchen"]["description"] == "Küche links"
        assert found["room.monitor"]["channels"] == 6
        assert [(each, found[each]["monitor"]) for each in ("mic_kitchen", "room.monitor")] == [
            ("mic_kitchen", False),
            ("room.monitor", True),
        ]
        assert {found[each]["system"] for each in ("mic_kitchen", "room.monitor")} == {kind}
        table = self.run().stdout.splitlines()
        assert any(line.split()[:4] == ["*", "mic_kitchen", "Küche", "links"] for line in table)
        assert any("room.monitor" in line and "monitor: records what is played" in line for line in table)
        assert sum(line.startswith("*") for line in table) == 1

    @pytest.mark.slow
    def test_a_server_that_hangs(self, sound_system: SoundSystem) -> None:
        sound_system.add_room("room")
        with sound_system.frozen():
            listed = self.run(check=False)
        assert listed.returncode == 1
        assert "clapstream: PortAudio did not list its devices within 10 s: PulseAudio or PipeWire may hang" in (
            listed.stderr
        )

    def test_without_any_sound_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if any(Path("/proc/asound").glob("card*/pcm*c")):
            pytest.skip("needs a machine without a microphone")
        monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/nobody")
        listed = self.run()
        assert listed.stdout == ""
        assert "clapstream: no microphone found: PortAudio sees none, and no PulseAudio or PipeWire server: " in (
            listed.stderr
        )
        assert "Traceback" not in listed.stderr
