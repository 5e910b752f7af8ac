"""A network stream (RTSP, HTTP and whatever else FFmpeg's libraries read), reconnected for ever."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.recovery import StreamBrokenError, keep_streaming
from clapstream.audio.samples import choose_channel, sane_samples
from clapstream.audio.source import BLOCK_SECONDS, SourceError
from clapstream.backoff import Backoff

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
    try:
        for samples in _mono_samples(url):
            handover.put_from_thread(Block(frame, samples))
            frame += len(samples)
            ahead_seconds = frame / RATE_HZ - FASTEST * (time.monotonic() - started)
            if handover.closed.wait(max(0.0, ahead_seconds - AHEAD_SECONDS)):
                return
    except av.ExitError:
        raise StreamBrokenError(f"{public_url(url)}: nothing received for {READ_SECONDS:g} s") from None
    except av.FFmpegError as error:  # its own text and traceback would show the URL, password and all
        raise StreamBrokenError(f"{public_url(url)}: {error.strerror}") from None
    raise StreamBrokenError(f"{public_url(url)}: the stream ended")


def _mono_samples(url: str) -> Iterator[NDArray[np.float32]]:
    """Give mono samples `(frames,)` at `RATE_HZ`, about a block at a time."""
    import av

    resampler = av.AudioResampler(format="fltp", rate=RATE_HZ)  # mixing is ours: FFmpeg's adds channels up
    gathered: list[NDArray[np.float32]] = []
    with av.open(url, timeout=(CONNECT_SECONDS, READ_SECONDS), options=OPTIONS) as container:
        if not container.streams.audio:
            raise StreamBrokenError(f"{public_url(url)}: there is no sound in the stream")
        for decoded in container.decode(audio=0):
            for resampled in resampler.resample(decoded):
                sound, _ = sane_samples(resampled.to_ndarray().T.astype(np.float32, copy=False))
                gathered.append(choose_channel(sound, "mix"))
            if sum(map(len, gathered)) >= BLOCK_SECONDS * RATE_HZ:
                yield np.concatenate(gathered)
                gathered.clear()
    if gathered:
        yield np.concatenate(gathered)


def public_url(url: str) -> str:
    """Return the URL without what may be secret: user, password, query and fragment."""
    without_user = re.sub(r"(?<=://)[^/?#]*@", "", url)
    return re.split(r"[?#]", without_user)[0]
