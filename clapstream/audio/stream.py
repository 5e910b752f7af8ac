"""A network stream (RTSP, HTTP and whatever else FFmpeg's libraries read), reconnected for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.av_frames import float_samples
from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.recovery import StreamBrokenError, keep_streaming
from clapstream.audio.resampling import StreamResampler
from clapstream.audio.samples import choose_channel, sane_samples
from clapstream.audio.source import BLOCK_SECONDS, SourceError
from clapstream.backoff import Backoff
from clapstream.urls import shown_url

if TYPE_CHECKING:
    import av

T = TypeVar("T")

CONNECT_SECONDS = 10.0
READ_SECONDS = 5.0
"""A server that sends nothing for this long is lost."""

OPTIONS = {
    "rtsp_transport": "tcp",  # over UDP, lost packets would be spliced
    "analyzeduration": "1000000",  # microseconds of a live stream that pass before it opens: FFmpeg takes 5 s
}

QUEUED_BLOCKS = 50
"""Blocks (5 s) kept for a consumer that is late."""

AHEAD_SECONDS = 30.0
"""How far to read ahead of real time: servers send a burst at first, but a file behind a URL would come at once."""

FASTEST = 1.05
"""How fast to read after the burst: a server whose clock is ahead of ours must never be held back."""

CLOSE_SECONDS = 1.0
"""How long closing waits for the reader; if the network holds it, it ends by itself within `READ_SECONDS`."""


class Stream:
    """A source that listens to a URL, in real time: after a first burst it reads hardly faster than sound plays.

    When nobody takes its blocks for 5 s, it drops new ones, counts them and leaves a hole.
    """

    def __init__(self, name: str, url: str, *, backoff: Backoff | None = None) -> None:
        """Take the URL, which may carry a password: it is neither shown nor logged."""
        self.name = name
        self.dropped_blocks = 0
        self.silent = False
        self._url = url
        self._backoff = backoff or Backoff()
        self._opened = 0

    @property
    def reconnects(self) -> int:
        """How often the stream opened again after it was lost."""
        return max(0, self._opened - 1)

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the stream, for ever; SourceError where PyAV is missing."""
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise SourceError(
                f"source {self.name}: network streams need the package av: pip install 'clapstream[stream]'"
            ) from error
        async with aclosing(keep_streaming(self.name, self._stream, self._backoff)) as items:
            async for item in items:
                yield item

    async def _stream(self) -> AsyncGenerator[SourceItem, None]:
        """Give one stream; StreamBrokenError when it is lost."""
        handover = _Handover()
        reader = threading.Thread(target=_read, args=(self._url, handover), name=f"source {self.name}", daemon=True)
        reader.start()
        dropped_before = self.dropped_blocks
        try:
            first = await handover.get()
            self._opened += 1
            yield StreamOpened(datetime.now(UTC))
            yield first
            while True:
                block = await handover.get()
                self.dropped_blocks = dropped_before + handover.dropped
                yield block
        finally:
            handover.closed.set()
            await asyncio.to_thread(reader.join, CLOSE_SECONDS)


class _Handover:
    """A bounded queue from the reader's thread to the loop."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._blocks: deque[Block] = deque()
        self._end: Exception | None = None
        self._changed = asyncio.Event()

    async def get(self) -> Block:
        """Return the next block; raise what ended the reader once all were taken."""
        while not self._blocks:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        return self._blocks.popleft()

    def put_from_thread(self, block: Block) -> None:
        """Hand a block over, dropping it if the consumer is too late."""
        self._call(self._put, block)

    def end_from_thread(self, error: Exception) -> None:
        """Tell why no more blocks come."""
        self._call(self._finish, error)

    def _call(self, function: Callable[[T], None], argument: T) -> None:
        if not self.closed.is_set():  # else the loop may be gone
            self._loop.call_soon_threadsafe(function, argument)

    def _put(self, block: Block) -> None:
        if len(self._blocks) < QUEUED_BLOCKS:
            self._blocks.append(block)
            self._changed.set()
        else:
            self.dropped += 1

    def _finish(self, error: Exception) -> None:
        self._end = error
        self._changed.set()


def _read(url: str, handover: _Handover) -> None:
    """Run in a thread: hand over the stream's blocks in real time until it ends, breaks, or nobody listens."""
    try:
        _hand_over_blocks(url, handover)
    except Exception as error:  # whatever it is, the loop raises it
        handover.end_from_thread(error)


def _hand_over_blocks(url: str, handover: _Handover) -> None:
    """Hand over blocks until nobody listens; StreamBrokenError when the stream breaks or ends."""
    import av

    started = time.monotonic()
    frame = 0
    reason = "the stream ended"
    try:
        for samples in _mono_samples(url):
            handover.put_from_thread(Block(frame, samples))
            frame += len(samples)
            ahead_seconds = frame / RATE_HZ - FASTEST * (time.monotonic() - started)
            if handover.closed.wait(max(0.0, ahead_seconds - AHEAD_SECONDS)):
                return
    except av.ExitError:
        reason = f"nothing received for {READ_SECONDS:g} s"
    except av.FFmpegError as error:  # its own text and traceback would show the URL, password and all
        reason = error.strerror or "broken"
    # Not raised above: the failure would be its context, with all that its traceback holds.
    raise StreamBrokenError(f"{shown_url(url)}: {reason}")


def _mono_samples(url: str) -> Iterator[NDArray[np.float32]]:
    """Give mono samples `(frames,)` at `RATE_HZ`, about a block at a time.

    Resampled by soxr like all sources, not by FFmpeg: PyAV's resampler passes sound of a changed rate on unnoticed,
    and has threads that live as long as the traceback of the failure that ended the stream.
    """
    import av

    with av.open(url, timeout=(CONNECT_SECONDS, READ_SECONDS), options=OPTIONS) as container:
        if not container.streams.audio:
            raise StreamBrokenError(f"{shown_url(url)}: there is no sound in the stream")
        rate_hz = container.streams.audio[0].rate
        resampler = _resampler(url, rate_hz)
        frame, gathered = 0, list[NDArray[np.float32]]()
        for decoded in container.decode(audio=0):
            if decoded.sample_rate != rate_hz:
                raise StreamBrokenError(f"{shown_url(url)}: the rate changed to {decoded.sample_rate} Hz")
            gathered.append(_mono(url, decoded))
            if sum(map(len, gathered)) >= BLOCK_SECONDS * rate_hz:
                samples = np.concatenate(gathered)
                gathered.clear()
                yield from (block.samples for block in resampler.push(frame, samples))
                frame += len(samples)
        if gathered:
            yield from (block.samples for block in resampler.push(frame, np.concatenate(gathered)))
        yield from (block.samples for block in resampler.finish())


def _resampler(url: str, rate_hz: int) -> StreamResampler:
    try:
        return StreamResampler(rate_hz)
    except ValueError as error:
        raise StreamBrokenError(f"{shown_url(url)}: {error}") from error


def _mono(url: str, decoded: av.AudioFrame) -> NDArray[np.float32]:
    """Return mono samples `(frames,)` of what a decoder gave."""
    try:
        sound, _ = sane_samples(float_samples(decoded))
    except ValueError as error:
        raise StreamBrokenError(f"{shown_url(url)}: {error}") from error
    return choose_channel(sound, "mix")
