"""A microphone over a scripted capture: what becomes of every fault, without waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from support.audio_items import first_items

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.clock import WallClockWatch
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.microphone.capture_process import CapturedSound, CaptureFormat
from clapstream.audio.microphone.microphone import Microphone
from clapstream.audio.source import SourceError
from clapstream.process.backoff import Backoff

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FORMAT = CaptureFormat(RATE_HZ, 1, latency_seconds=0.25)
UNPLUGGED = StreamBrokenError("unplugged")
STALL = "stall"

Script = list[CaptureFormat | CapturedSound | Exception | str]


def sound(first_sample: int, sample_count: int = 4800, value: float = 0.5) -> CapturedSound:
    return CapturedSound(first_sample, np.full((sample_count, 1), value, dtype=np.float32))


class ScriptedCapture:
    """Delivers a script; an exception is raised, STALL delivers nothing any more."""

    def __init__(self, script: Script) -> None:
        self.script = list(script)
        self.closed = False

    async def read_format(self) -> CaptureFormat:
        capture_format = await self._next()
        assert isinstance(capture_format, CaptureFormat)
        return capture_format

    async def read_sound(self) -> CapturedSound:
        captured = await self._next()
        assert isinstance(captured, CapturedSound)
        return captured

    async def close(self) -> None:
        self.closed = True

    async def _next(self) -> CaptureFormat | CapturedSound | Exception | str:
        item = self.script.pop(0) if self.script else STALL
        if item == STALL:
            await asyncio.Event().wait()
        if isinstance(item, Exception):
            raise item
        return item


class Captures:
    """Opens one scripted capture after the other."""

    def __init__(self, *scripts: Script) -> None:
        self.waiting = [ScriptedCapture(script) for script in scripts]
        self.opened: list[ScriptedCapture] = []
        self.requests: list[tuple[str | int | None, str | int]] = []

    async def open(self, device: str | int | None, channel: str | int) -> ScriptedCapture:
        self.requests.append((device, channel))
        self.opened.append(self.waiting.pop(0))
        return self.opened[-1]


def microphone(
    captures: Captures,
    channel: str | int = "mix",
    clock_watch: Callable[[], WallClockWatch] = lambda: WallClockWatch(lambda: 0.0, lambda: 0.0),
) -> Microphone:
    return Microphone(
        "kitchen",
        "USB",
        channel,
        capture=captures.open,
        backoff=Backoff(0.0, 0.0),
        clock_watch=clock_watch,
        now=lambda: NOW,
        stall_seconds=0.05,
    )


def listen(source: Microphone, count: int) -> list[SourceItem]:
    return first_items(source.items(), count)


def kinds(items: list[SourceItem]) -> list[type]:
    return [type(item) for item in items]


class TestStream:
    def test_opens_with_the_time_of_its_first_sample(self) -> None:
        captures = Captures([FORMAT, sound(0)])
        opened, block = listen(microphone(captures), 2)
        assert opened == StreamOpened(NOW - timedelta(seconds=0.1 + 0.25))
        assert isinstance(block, Block)
        assert (block.first_sample, block.end_sample) == (0, 4800)
        assert captures.requests == [("USB", "mix")]

    def test_releases_the_device_when_closed(self) -> None:
        captures = Captures([FORMAT, sound(0)])
        listen(microphone(captures), 2)
        assert captures.opened[0].closed

    def test_resamples_from_the_rate_of_the_device(self) -> None:
        captures = Captures(
            [CaptureFormat(16_000, 1, 0.0), *(sound(first, 1600) for first in range(0, 16_000, 1600))]
        )
        blocks = [item for item in listen(microphone(captures), 10) if isinstance(item, Block)]
        assert blocks[0].first_sample == 0
        assert 2.7 * 16_000 - 4800 < blocks[-1].end_sample <= 2.7 * 16_000 + 4800

    @pytest.mark.parametrize(("channel", "value"), [("mix", 0.4), ("left", 0.2), ("right", 0.6), (1, 0.6)])
    def test_takes_the_chosen_channel(self, channel: str | int, value: float) -> None:
        stereo = CapturedSound(0, np.tile(np.array([0.2, 0.6], dtype=np.float32), (4800, 1)))
        captures = Captures([CaptureFormat(RATE_HZ, 2, 0.0), stereo])
        _, block = listen(microphone(captures, channel), 2)
        assert isinstance(block, Block)
        np.testing.assert_allclose(block.samples, value, rtol=1e-6)

    def test_an_absurd_channel_is_refused(self) -> None:
        with pytest.raises(ValueError, match="channel must be"):
            Microphone("kitchen", channel="centre")

    def test_lost_samples_are_counted_and_leave_a_hole(self) -> None:
        captures = Captures([FORMAT, sound(0), sound(4800 * 3 + 1), sound(4800 * 4 + 1)])
        source = microphone(captures)
        items = listen(source, 4)
        assert [item.first_sample for item in items if isinstance(item, Block)] == [0, 14_401, 19_201]
        assert source.dropped_blocks == 3

    def test_a_channel_that_the_device_lacks_is_a_reason_to_be_lost(self) -> None:
        (lost,) = listen(microphone(Captures([FORMAT, sound(0)]), 3), 2)[1:]
        assert isinstance(lost, StreamLost)
        assert "there is no channel 3" in lost.reason


class TestCancellation:
    def warnings(
        self, caplog: pytest.LogCaptureFixture, *channels: float, quiet: float = 1.0, streams: int = 1
    ) -> int:
        """How often streams of ten seconds are warned of, each channel a factor of one noise."""
        noise = np.random.default_rng(1).uniform(-0.5, 0.5, RATE_HZ).astype(np.float32) * np.float32(quiet)
        samples = np.outer(noise, np.array(channels, dtype=np.float32))
        seconds = [CapturedSound(second * RATE_HZ, samples) for second in range(10)]
        script: Script = [CaptureFormat(RATE_HZ, len(channels), 0.0), *seconds, UNPLUGGED]
        with caplog.at_level(logging.WARNING):
            listen(microphone(Captures(*[script] * streams)), 12 * streams)
        return sum("cancel each other out" in message for message in caplog.messages)

    def test_is_warned_of_once_however_often_the_stream_opens(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.warnings(caplog, 1.0, -1.0, streams=3) == 1

    @pytest.mark.parametrize("channels", [(1.0, -0.8), (0.5, 0.5, -1.0), (0.0, 1.0, -1.0, 0.0)])
    def test_is_noticed_when_little_is_left(self, caplog: pytest.LogCaptureFixture, channels: tuple[float]) -> None:
        assert self.warnings(caplog, *channels) == 1

    @pytest.mark.parametrize("channels", [(1.0, 1.0), (1.0, 0.0), (1.0, -0.5), (1.0, *[0.0] * 31), (1.0,)])
    def test_is_not_seen_where_the_mix_is_heard(
        self, caplog: pytest.LogCaptureFixture, channels: tuple[float]
    ) -> None:
        assert self.warnings(caplog, *channels) == 0

    def test_is_not_guessed_from_what_is_next_to_silence(self, caplog: pytest.LogCaptureFixture) -> None:
        assert self.warnings(caplog, 1.0, -1.0, quiet=1e-4) == 0


class TestFaults:
    @pytest.mark.parametrize("fault", [UNPLUGGED, STALL])
    def test_lost_and_opened_again(self, fault: Exception | str) -> None:
        captures = Captures([FORMAT, sound(0), fault], [UNPLUGGED], [FORMAT, sound(0)])
        source = microphone(captures)
        items = listen(source, 5)
        assert kinds(items) == [StreamOpened, Block, StreamLost, StreamOpened, Block]
        assert source.reconnects == 1
        assert all(capture.closed for capture in captures.opened)

    def test_the_reason_of_a_stall_is_reported(self) -> None:
        items = listen(microphone(Captures([FORMAT, sound(0), STALL])), 3)
        assert items[2] == StreamLost("no audio received for 0.05 s")

    def test_absent_at_start(self) -> None:
        captures = Captures([UNPLUGGED], [UNPLUGGED], [FORMAT, sound(0)])
        source = microphone(captures)
        assert kinds(listen(source, 3)) == [StreamLost, StreamOpened, Block]
        assert source.reconnects == 0

    def test_without_portaudio_there_is_no_point(self) -> None:
        with pytest.raises(SourceError, match="source kitchen: needs libportaudio2"):
            listen(microphone(Captures([SourceError("needs libportaudio2")])), 1)

    @pytest.mark.parametrize("jump", [3600.0, -3600.0])
    def test_a_jump_of_the_clock_begins_a_new_stream(self, jump: float) -> None:
        def watch() -> WallClockWatch:
            wall = iter([0.0, 0.0, jump, jump])
            return WallClockWatch(lambda: next(wall), lambda: 0.0)

        captures = Captures([FORMAT, sound(0), sound(4800), sound(9600)], [FORMAT, sound(0)])
        items = listen(microphone(captures, clock_watch=watch), 5)
        assert kinds(items) == [StreamOpened, Block, Block, StreamLost, StreamOpened]
        assert items[3] == StreamLost(f"the clock jumped by {jump:+.0f} s")


class TestSilence:
    def test_a_minute_of_digital_silence_is_reported_once(self, caplog: pytest.LogCaptureFixture) -> None:
        seconds = [sound(second * RATE_HZ, RATE_HZ, 0.0) for second in range(70)]
        source = microphone(Captures([FORMAT, *seconds, sound(70 * RATE_HZ), sound(71 * RATE_HZ, value=0.0)]))
        silent_after = {}

        async def run() -> None:
            blocks = 0
            async with aclosing(source.items()) as stream:
                async for item in stream:
                    blocks += isinstance(item, Block)
                    silent_after[blocks] = source.silent
                    if blocks == 72:
                        break

        with caplog.at_level(logging.WARNING):
            asyncio.run(run())
        assert [silent_after[blocks] for blocks in (59, 60, 70, 71, 72)] == [False, True, True, False, False]
        assert [record.message for record in caplog.records] == [
            "source kitchen: digital silence for 60 s; is the microphone muted?"
        ]

    def test_the_faintest_noise_is_not_silence(self) -> None:
        seconds = [sound(second * RATE_HZ, RATE_HZ, 1e-7) for second in range(61)]
        source = microphone(Captures([FORMAT, *seconds]))
        listen(source, 62)
        assert not source.silent
