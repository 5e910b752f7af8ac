"""Reads a network stream in a thread: opens it, places its sound by its time stamps, and queues blocks."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from clapstream.audio.block import RATE_HZ, Block
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.live.pace import Pace
from clapstream.audio.live.recovery import StreamBrokenError
from clapstream.audio.stream.decoding import decoded_sound
from clapstream.audio.stream.handover import Handover
from clapstream.audio.stream.opening import (
    CONNECT_SECONDS,
    READ_SECONDS,
    SEGMENT_SECONDS,
    is_segmented,
    may_open_another_way,
    open_stream,
)
from clapstream.audio.stream.stream_section import StreamSection
from clapstream.audio.stream.timestamps import LEAST_HOLE_SECONDS
from clapstream.urls import shown_url

if TYPE_CHECKING:
    import av

SEGMENTED_PACE = 1.0001
"""How fast segmented sound is read, without a burst, so that it comes evenly, some segments late."""


class StreamReader:
    """The thread of one stream: `run` queues blocks in real time until the stream ends or nobody listens."""

    def __init__(self, url: str, channel: ChannelChoice, ways: list[dict[str, str]], handover: Handover) -> None:
        """Take the URL, its channel, the options of each way to open it (the best first), and the queue."""
        self.segmented = False
        self.way: dict[str, str] | None = None
        self._url = url
        self._channel = channel
        self._ways = ways
        self._handover = handover

    def run(self) -> None:
        """Queue the stream's blocks, and the error that ended it."""
        try:
            self._read()
        except StreamBrokenError as error:
            self._handover.end_from_thread(StreamBrokenError(f"{shown_url(self._url)}: {error}"))
        except Exception as error:  # of any kind: raised again on the event loop
            self._handover.end_from_thread(error)

    def _read(self) -> None:
        """Queue blocks until nobody listens; StreamBrokenError when the stream breaks or ends."""
        import av

        reason = "the stream ended"
        try:
            with self._open() as container:
                self.segmented = is_segmented(container)
                self._hand_over(self._blocks(container))
                if self._handover.closed.is_set():
                    return
        except av.ExitError:
            reason = f"no data received for {SEGMENT_SECONDS if self.segmented else READ_SECONDS:g} s"
            if not self._handover.received:
                reason = f"no answer, or no audio in it, within {CONNECT_SECONDS:g} s"
        except av.FFmpegError as error:  # its own text and traceback would show the URL with its password
            reason = error.strerror or "cannot be read"
            if error.errno == errno.EIO and self._handover.received:
                reason = "the server closed the connection"
        # Not raised above: the error would be its context, and its traceback refers to the open stream.
        raise StreamBrokenError(reason)

    def _open(self) -> av.container.InputContainer:
        """Open the stream in the first way that the server does not refuse; raises av.FFmpegError."""
        import av

        for way in self._ways[:-1]:
            try:
                container = open_stream(self._url, way)
            except av.FFmpegError as error:
                if self._handover.closed.is_set() or not may_open_another_way(error):
                    raise
            else:
                self.way = way
                return container
        container = open_stream(self._url, self._ways[-1])
        self.way = self._ways[-1]
        return container

    def _blocks(self, container: av.container.InputContainer) -> Iterator[Block]:
        """Give the blocks of the stream at `RATE_HZ`; a new rate starts after a hole.

        Resampled by soxr like all sources, not by FFmpeg: PyAV's resampler passes sound of a changed rate on
        unnoticed, and has threads that live as long as the traceback of the failure that ended the stream.
        """
        section: StreamSection | None = None
        for sound in decoded_sound(container, self._channel, self._handover.received_from_thread):
            if section is None or section.rate_hz != sound.rate_hz:
                start_sample = 0
                if section is not None:
                    yield from section.finish()
                    start_sample = section.end_sample + round(LEAST_HOLE_SECONDS * RATE_HZ)
                section = StreamSection(sound.rate_hz, start_sample)
            yield from section.push(sound)
        if section is not None:
            yield from section.finish()

    def _hand_over(self, blocks: Iterator[Block]) -> None:
        """Queue blocks, a burst at first, then in real time, until nobody listens."""
        pace: Pace | None = None
        for block in blocks:
            pace = pace or (Pace(0.0, SEGMENTED_PACE) if self.segmented else Pace())
            self._handover.put_from_thread(block)
            if self._handover.closed.wait(pace.wait_seconds(block.end_sample)):
                return
