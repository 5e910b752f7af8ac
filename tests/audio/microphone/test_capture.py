"""The capture process, run as the daemon runs it, over a PortAudio whose devices the test invents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from clapstream.audio.block import Block, StreamLost
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.microphone.capture import QUEUED_BLOCKS
from clapstream.audio.microphone.capture_process import Capture, CaptureFormat, open_capture
from clapstream.audio.microphone.microphone import Microphone
from clapstream.audio.source import SourceError

FAKE_SOUNDDEVICE = """
import struct, threading, types

class PortAudioError(Exception):
    pass

default = types.SimpleNamespace(hostapi=0)
DEVICES = [
    {"name": "Speaker", "hostapi": 0, "max_input_channels": 0, "default_samplerate": 48000.0},
    {"name": "Stereo", "hostapi": 0, "max_input_channels": 2, "default_samplerate": 44100.0},
    {"name": "Array of six, 16 kHz", "hostapi": 0, "max_input_channels": 6, "default_samplerate": 16000.0},
    {"name": "Busy", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "Dying", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "Overflowing", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "Flooding", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48000.0},
    {"name": "Stuck", "hostapi": 0, "max_input_channels": 1, "default_samplerate": 48000.0},
]

def query_hostapis():
    return ({"name": "Invented", "default_input_device": 1},)

def query_devices():
    return DEVICES

class RawInputStream:
    latency = 0.125

    def __init__(self, device, samplerate, channels, dtype, blocksize, latency, callback, finished_callback):
        self.name = DEVICES[device]["name"]
        if self.name == "Busy":
            raise PortAudioError("Device unavailable")
        if self.name.startswith("Array") and (samplerate, channels) != (16000, 6):
            raise PortAudioError("Invalid sample rate or channels")
        self.samplerate, self.channels, self.blocksize = float(samplerate), channels, blocksize
        self.callback, self.finished_callback = callback, finished_callback

    def start(self):
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        counts = {"Dying": 2, "Stuck": 0, "Flooding": 500}
        for number in range(counts.get(self.name, 3)):
            sample = struct.pack("=%df" % self.channels, *(0.1 * (1 + c) for c in range(self.channels)))
            overflow = self.name == "Overflowing" and number == 1
            status = types.SimpleNamespace(input_overflow=overflow)
            self.callback(memoryview(sample * self.blocksize), self.blocksize, None, status)
        if self.name == "Dying":
            self.finished_callback()
        threading.Event().wait()
"""


@pytest.fixture
def portaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a sounddevice module of our own before the real one, in the capture process only."""

    def install(source: str) -> None:
        (tmp_path / "sounddevice.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    install(FAKE_SOUNDDEVICE)
    return install


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_capture(pid: str) -> bool:
    """Whether a process is a capture process or a zombie: other tests' sound servers may run, too."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    return not command or b"clapstream.audio.microphone.capture" in command


def children() -> list[str]:
    """The capture processes that this one started and that are not gone a moment later."""
    deadline = time.monotonic() + 10.0
    while True:
        started = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        running = [pid for pid in started if is_capture(pid)]
        if not running or time.monotonic() > deadline:
            return running
        time.sleep(0.05)


@asynccontextmanager
async def capturing(device: str | int | None, channel: str | int = "mix") -> AsyncGenerator[Capture, None]:
    capture = await open_capture(device, channel)
    try:
        async with asyncio.timeout(60):
            yield capture
    finally:
        await capture.close()


def read(device: str | int | None, channel: str | int = "mix", sounds: int = 1) -> tuple[CaptureFormat, list]:
    async def run() -> tuple[CaptureFormat, list]:
        async with capturing(device, channel) as capture:
            return await capture.read_format(), [await capture.read_sound() for _ in range(sounds)]

    return asyncio.run(run())


@pytest.mark.usefixtures("portaudio")
class TestCapture:
    def test_records_the_default_at_48_khz(self) -> None:
        capture_format, (first, second) = read(None, sounds=2)
        assert capture_format == CaptureFormat(48_000, 2, 0.125)
        assert (first.first_sample, first.samples.shape) == (0, (4800, 2))
        assert second.first_sample == 4800
        np.testing.assert_allclose(first.samples, np.tile([0.1, 0.2], (4800, 1)), rtol=1e-6)

    def test_takes_the_rate_and_channels_that_the_device_insists_on(self) -> None:
        capture_format, (first,) = read("array")
        assert capture_format == CaptureFormat(16_000, 6, 0.125)
        assert first.samples.shape == (1600, 6)

    def test_never_asks_for_one_channel_of_several(self) -> None:
        assert read("stereo", "left")[0].channels == 2  # ALSA would give the mean of both

    def test_an_overflow_leaves_a_hole(self) -> None:
        _, sounds = read("Overflowing", sounds=3)
        assert [sound.first_sample for sound in sounds] == [0, 9600, 14_400]

    @pytest.mark.parametrize(
        ("device", "channel", "message"),
        [
            ("kitchen", "mix", "device 'kitchen' not found; available: 1: Stereo, 2: Array"),
            (0, "mix", "device 0 not found"),
            ("Busy", "mix", "cannot open Busy: Device unavailable"),
            ("Busy", "right", "Busy has 1 channel: there is no channel right"),
            ("Stereo", 2, "Stereo has 2 channels: there is no channel 2"),
        ],
    )
    def test_says_why_it_cannot(self, device: str | int, channel: str | int, message: str) -> None:
        with pytest.raises(StreamBrokenError) as error:
            read(device, channel)
        assert message in str(error.value)

    def test_a_device_whose_stream_ends_is_lost(self) -> None:
        with pytest.raises(StreamBrokenError, match="the device stopped"):
            read("Dying", sounds=3)

    def test_a_killed_process_is_a_lost_device(self) -> None:
        async def run() -> None:
            async with capturing("Stuck") as capture:
                await capture.read_format()
                capture._process.kill()
                await capture.read_sound()

        with pytest.raises(StreamBrokenError, match="ended unexpectedly"):
            asyncio.run(run())

    def test_closing_kills_a_process_that_is_stopped(self) -> None:
        async def run() -> int | None:
            async with capturing("Stuck") as capture:
                await capture.read_format()
                os.kill(capture._process.pid, signal.SIGSTOP)
            return capture._process.returncode

        assert asyncio.run(run()) == -signal.SIGKILL

    def test_closing_does_not_wait_for_sound_that_nobody_read(self) -> None:
        read("Flooding")

    def test_signals_that_stop_the_daemon_leave_it_alone(self) -> None:
        async def run() -> int:
            async with capturing("stereo") as capture:
                await capture.read_format()
                capture._process.terminate()
                capture._process.send_signal(signal.SIGINT)
                return (await capture.read_sound()).first_sample

        assert asyncio.run(run()) == 0

    def test_leaves_nothing_behind(self) -> None:
        async def run() -> int:
            for _ in range(3):
                async with capturing("stereo") as capture:
                    await capture.read_format()
            return open_descriptors()

        async def idle() -> int:
            return open_descriptors()

        assert asyncio.run(run()) == asyncio.run(idle())
        assert children() == []

    @pytest.mark.parametrize("device", ["Stuck", "Flooding"])
    def test_ends_when_the_daemon_is_gone(self, device: str) -> None:
        """Also with a message that the daemon has not read, which makes the end of the socket an error."""

        async def run() -> int:
            async with capturing(device) as capture:
                ready, _, _ = await asyncio.to_thread(select.select, [capture._connection], [], [], 60)
                assert ready
                capture._connection.close()
                return await asyncio.to_thread(capture._process.wait, 60)

        assert asyncio.run(run()) == 0


@pytest.mark.usefixtures("portaudio")
class TestReaping:
    def test_many_missing_microphones_are_each_reaped_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail() -> None:
            with pytest.raises(StreamBrokenError):
                async with capturing("missing") as capture:
                    await capture.read_format()

        async def run() -> int:
            for _ in range(6):
                await asyncio.gather(*(fail() for _ in range(6)))
            return open_descriptors()

        async def idle() -> int:
            return open_descriptors()

        assert asyncio.run(run()) == asyncio.run(idle())
        assert caplog.messages == []
        assert children() == []

    @pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.1, 0.5])
    def test_cancelled_while_it_opens(self, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
        async def listen() -> None:
            async with aclosing(Microphone("kitchen", "Stuck").items()) as items:
                await anext(items)

        async def run() -> int:
            before = open_descriptors()
            for _ in range(5):
                task = asyncio.create_task(listen())
                await asyncio.sleep(seconds)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return open_descriptors() - before

        assert asyncio.run(run()) == 0
        assert children() == []
        assert caplog.messages == []

    def test_cancelled_twice_while_it_closes(self) -> None:
        async def run() -> int:
            before = open_descriptors()
            capture = await open_capture("Stuck", "mix")
            closing = asyncio.create_task(capture.close())
            await asyncio.sleep(0)
            closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            return open_descriptors() - before

        assert asyncio.run(run()) == 0
        assert children() == []


class TestMicrophone:
    @pytest.mark.usefixtures("portaudio")
    def test_a_consumer_that_is_late_costs_counted_blocks_not_memory(self) -> None:
        async def run() -> tuple[int, list[Block], int]:
            source = Microphone("kitchen", "Flooding")
            blocks = []
            async with asyncio.timeout(60), aclosing(source.items()) as items:
                async for item in items:
                    if isinstance(item, StreamLost):  # the flood is over
                        break
                    if isinstance(item, Block):
                        blocks.append(item)
                    if len(blocks) == 1:
                        await asyncio.sleep(1)
            return source.dropped_blocks, blocks

        dropped, blocks = asyncio.run(run())
        pipe_blocks = 20  # what the pipe and the reader hold beside the queue
        assert len(blocks) <= QUEUED_BLOCKS + pipe_blocks
        seen = {block.first_sample for block in blocks}
        missing = [number for number in range(blocks[-1].end_sample // 4800) if number * 4800 not in seen]
        assert dropped == len(missing)

    def test_without_portaudio_it_says_what_to_install(self, portaudio: Callable[[str], None]) -> None:
        portaudio("raise OSError('PortAudio library not found')")

        async def run() -> None:
            async with aclosing(Microphone("kitchen").items()) as items:
                await anext(items)

        with pytest.raises(
            SourceError, match=r"source kitchen: .*PortAudio library not found.*apt install libportaudio2"
        ):
            asyncio.run(run())
