"""A network stream (RTSP, HTTP and others that FFmpeg's libraries read), reconnected whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable

from clapstream.audio.block import Block, SourceItem, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.live.live_source import LiveSource
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.pyav import AV_PACKAGE, av_is_installed
from clapstream.audio.source import SourceError
from clapstream.audio.stream.handover import Handover
from clapstream.audio.stream.opening import SEGMENT_SECONDS, Transport, ways_to_open
from clapstream.audio.stream.stream_reader import StreamReader
from clapstream.process.backoff import Backoff
from clapstream.urls import shown_url

_logger = logging.getLogger(__name__)

STALL_SECONDS = 5.0
"""A stream without sound for this long is lost, even if it still sends video."""

QUEUED_BLOCKS = 50
"""Blocks (5 s) kept for a consumer that is late."""

CLOSE_SECONDS = 1.0
"""How long closing waits for the reader; if the network blocks it, it ends by itself within `READ_SECONDS`."""


class Stream(LiveSource):
    """A source that listens to a URL, in real time: after a first burst it reads hardly faster than sound plays.

    When nobody takes its blocks for 5 s, it drops the oldest. Jumps of the presentation time are holes, too.
    """

    def __init__(
        self,
        name: str,
        url: str | Callable[[], str],
        channel: str | int = "mix",
        transport: Transport = "auto",
        *,
        backoff: Backoff | None = None,
    ) -> None:
        """Take the URL, or a function that reads it and may raise ValueError, and for RTSP the transport.

        The URL may contain a password: it is neither shown nor logged.
        """
        super().__init__(name, ChannelChoice(name, channel), backoff or Backoff(), STALL_SECONDS)
        self._read_url = url if callable(url) else lambda: url
        self._url = ""
        self._transport = transport
        self._ways: list[dict[str, str]] = []
        self._served_way: dict[str, str] | None = None

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        """Give the stream without end; SourceError where PyAV or the URL is missing."""
        if not av_is_installed():
            raise SourceError(f"source {self.name}: network streams need {AV_PACKAGE}")
        try:
            self._url = self._read_url()
        except ValueError as error:
            raise SourceError(f"source {self.name}: {error}") from error
        self._ways = ways_to_open(self._url, self._transport)
        async for item in super().items():
            yield item

    async def _stream(self) -> AsyncGenerator[StreamOpened | Block, None]:
        handover = self._handover = Handover(QUEUED_BLOCKS)
        reader = StreamReader(self._url, self._channel, self._ways, handover)
        thread = threading.Thread(target=reader.run, name=f"source {self.name}", daemon=True)
        thread.start()
        try:
            yield await self._until_opened(reader)
            warned = False
            while True:
                yield await handover.get()
                if handover.overflowed and not warned:
                    warned = True
                    _logger.warning(
                        "source %s: audio buffer overflow: audio is lost, the computer is too busy", self.name
                    )
        finally:
            handover.close()
            await asyncio.to_thread(thread.join, CLOSE_SECONDS)

    async def _until_opened(self, reader: StreamReader) -> StreamOpened:
        """Wait for the first sound; StreamBrokenError if none comes."""
        try:
            opened = await self._handover.opened()
        except StreamBrokenError:
            if reader.way is not None and reader.way is not self._served_way:
                # The server accepted this way but sent no audio: try another one next time.
                self._ways = [way for way in self._ways if way is not reader.way] + [reader.way]
            raise
        self._served_way = reader.way
        self._stall_seconds = SEGMENT_SECONDS if reader.segmented else STALL_SECONDS
        return opened

    def _stall_reason(self) -> str:
        silent_seconds = time.monotonic() - self._handover.received_at
        what = "audio" if silent_seconds < self._stall_seconds / 2 else "data"
        return f"{shown_url(self._url)}: no {what} received for {self._stall_seconds:g} s"
