"""A microphone that is opened again for ever: unplugged, absent at start, or behind a sound server that died."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.cancellation import CancellationWatch
from clapstream.audio.capture_process import Capture, CapturedSound, CaptureFormat, open_capture
from clapstream.audio.channels import channel_index
from clapstream.audio.clock import WallClockWatch
from clapstream.audio.recovery import StreamBrokenError, keep_streaming
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import choose_channel, sane_samples
from clapstream.audio.source import SourceError
from clapstream.backoff import Backoff

_logger = logging.getLogger(__name__)

OPEN_SECONDS = 10.0
"""How long opening may take, the first sound included: PulseAudio's null sink takes 2 s."""

STALL_SECONDS = 2.0
"""A device that delivers nothing for this long is lost: they deliver ten times a second, silence too."""

SILENT_FRAMES = 60 * RATE_HZ
"""So much digital silence tells of a muted microphone: a real one always hears its own noise."""


class Microphone:
    """A source that records from a sound card.

    When nobody takes its blocks for 5 s, it drops new ones, counts them and leaves a hole. A jump of the wall clock
    (it was set, or the machine slept) ends the stream and opens another, so that within a stream times are true.
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
        self.name = name
        self.dropped_blocks = 0
        self.silent = False
        self._device = device
        self._channel = channel
        self._capture = capture
        self._backoff = backoff or Backoff()
        self._clock_watch = clock_watch
        self._now = now
        self._stall_seconds = stall_seconds
        self._cancellation = CancellationWatch(name)
        self._opened = 0
        self._silent_frames = 0

    @property
    def reconnects(self) -> int:
        """How often the stream opened again after it was lost."""
        return max(0, self._opened - 1)

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the stream, for ever; SourceError only where no microphone can ever be opened."""
        async with aclosing(keep_streaming(self.name, self._stream, self._backoff)) as items:
            async for item in items:
                yield item

    async def _stream(self) -> AsyncGenerator[SourceItem, None]:
        """Give one stream; StreamBrokenError when it is lost."""
        capture = await self._capture(self._device, self._channel)
        try:
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    capture_format = await capture.read_format()
                    sound = await capture.read_sound()
            except TimeoutError:
                raise StreamBrokenError(f"the device delivered nothing for {OPEN_SECONDS:g} s") from None
            except SourceError as error:
                raise SourceError(f"source {self.name}: {error}") from error
            self._opened += 1
            yield StreamOpened(self._first_frame_heard(capture_format, sound))
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
        end_frame = sound.first_frame
        while True:
            self._count_dropped(sound.first_frame - end_frame, len(sound.samples))
            end_frame = sound.first_frame + len(sound.samples)
            samples = self._mono(sound, capture_format.rate_hz)
            for block in resampler.push(sound.first_frame, samples):
                self._watch_silence(block)
                yield block
            sound = await self._next_sound(capture)
            if jump := watch.jump_seconds():
                raise StreamBrokenError(f"the clock jumped by {jump:+.0f} s")

    def _mono(self, sound: CapturedSound, rate_hz: int) -> NDArray[np.float32]:
        """Return `(frames,)` of the chosen channel; StreamBrokenError if the device lacks it."""
        samples, _ = sane_samples(sound.samples)
        try:
            chosen = choose_channel(samples, self._channel)
        except LookupError as error:
            raise StreamBrokenError(str(error)) from error
        if self._channel == "mix":
            self._cancellation.hear(samples, chosen, rate_hz)
        return chosen

    async def _next_sound(self, capture: Capture) -> CapturedSound:
        try:
            async with asyncio.timeout(self._stall_seconds):
                return await capture.read_sound()
        except TimeoutError:
            raise StreamBrokenError(f"the device delivered nothing for {self._stall_seconds:g} s") from None

    def _first_frame_heard(self, capture_format: CaptureFormat, sound: CapturedSound) -> datetime:
        frames = sound.first_frame + len(sound.samples)
        return self._now() - timedelta(seconds=frames / capture_format.rate_hz + capture_format.latency_seconds)

    def _count_dropped(self, missing_frames: int, block_frames: int) -> None:
        if missing_frames > 0:
            self.dropped_blocks += math.ceil(missing_frames / max(1, block_frames))

    def _watch_silence(self, block: Block) -> None:
        if block.samples.any():
            self._silent_frames = 0
            self.silent = False
            return
        self._silent_frames += len(block.samples)
        if self._silent_frames >= SILENT_FRAMES and not self.silent:
            self.silent = True
            _logger.warning(
                "source %s: nothing but digital silence for a minute: is the microphone muted?", self.name
            )
