"""A microphone, opened again whenever it is lost: unplugged, absent at start, or of a sound server that died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import Block, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.channels import channel_index
from clapstream.audio.clock import WallClockWatch
from clapstream.audio.live.live_source import LiveSource
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.microphone.capture_process import Capture, CapturedSound, CaptureFormat, open_capture
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import sane_samples
from clapstream.audio.source import SourceError
from clapstream.process.backoff import Backoff

OPEN_SECONDS = 10.0
"""How long opening may take, the first sound included: PulseAudio's null sink takes 2 s."""

STALL_SECONDS = 2.0
"""A device that delivers nothing for this long is lost: they deliver ten times a second, even in silence."""


class Microphone(LiveSource):
    """A source that records from a sound card.

    When nobody takes its blocks for 5 s, it drops new ones and leaves a hole. A jump of the wall clock ends the
    stream and opens another: the machine may have slept, and devices seldom outlive that.
    """

    def __init__(
        self,
        name: str,
        device: str | int | None = None,
        channel: str | int = "mix",
        *,
        capture: Callable[[str | int | None, str | int], Awaitable[Capture]] = open_capture,
        backoff: Backoff | None = None,
        clock_watch: Callable[[], WallClockWatch] = WallClockWatch,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """Take a device's name, description, part of either, index or None (the default); and a channel.

        The channel is mix, left, right or an index from 0.
        """
        if channel != "mix" and channel_index(channel) < 0:
            raise ValueError(f"channel must be mix, left, right or an index from 0, not {channel!r}")
        super().__init__(name, ChannelChoice(name, channel), backoff or Backoff(), stall_seconds)
        self._device = device
        self._wanted_channel = channel
        self._capture = capture
        self._clock_watch = clock_watch
        self._now = now

    async def _stream(self) -> AsyncGenerator[StreamOpened | Block, None]:
        """Give one stream; StreamBrokenError when it is lost."""
        capture = await self._capture(self._device, self._wanted_channel)
        try:
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    capture_format = await capture.read_format()
                    sound = await capture.read_sound()
            except TimeoutError:
                raise StreamBrokenError(f"no audio received for {OPEN_SECONDS:g} s") from None
            except SourceError as error:
                raise SourceError(f"source {self.name}: {error}") from error
            yield StreamOpened(self._first_sample_heard(capture_format, sound))
            async with aclosing(self._blocks(capture, capture_format, sound)) as blocks:
                async for block in blocks:
                    yield block
        finally:
            await capture.close()

    async def _blocks(
        self, capture: Capture, capture_format: CaptureFormat, sound: CapturedSound
    ) -> AsyncGenerator[Block, None]:
        """Give the blocks of one stream that begins with `sound`, until StreamBrokenError."""
        resampler = StreamResampler(capture_format.rate_hz)
        watch = self._clock_watch()
        while True:
            samples = self._mono(sound, capture_format.rate_hz)
            for block in resampler.push(sound.first_sample, samples):
                yield block
            sound = await capture.read_sound()
            if jump := watch.jump_seconds():
                raise StreamBrokenError(f"the clock jumped by {jump:+.0f} s")

    def _mono(self, sound: CapturedSound, rate_hz: int) -> NDArray[np.float32]:
        """Return `(samples,)` of the chosen channel; StreamBrokenError if the device lacks it."""
        samples, _ = sane_samples(sound.samples)
        try:
            return self._channel.mono(samples, rate_hz)
        except LookupError as error:
            raise StreamBrokenError(str(error)) from error

    def _stall_reason(self) -> str:
        return f"no audio received for {self._stall_seconds:g} s"

    def _first_sample_heard(self, capture_format: CaptureFormat, sound: CapturedSound) -> datetime:
        end_sample = sound.first_sample + len(sound.samples)
        return self._now() - timedelta(seconds=end_sample / capture_format.rate_hz + capture_format.latency_seconds)
