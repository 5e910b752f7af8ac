"""A pipe that is written in real time: its stalls, its holes, its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.pcm.live_pcm import LivePcm
from clapstream.audio.pcm.pcm_input import PcmInput
from clapstream.audio.source import SourceError

TIMEOUT_SECONDS = 60.0
STALL_SECONDS = 2.0

Write = Callable[[float], None]


def pcm(seconds: float) -> bytes:
    return (np.full(round(seconds * RATE_HZ), 8192, dtype="<i2")).tobytes()


@contextmanager
def feeder(play: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """The reading end of a pipe that `play` writes in a thread."""
    read_end, write_end = os.pipe()

    def run() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            play(pipe)

    thread = threading.Thread(target=run)
    thread.start()
    with os.fdopen(read_end, "rb") as stream:
        yield stream
    thread.join()


def play_live(pipe: BinaryIO, seconds: float) -> None:
    """Write sound as it is heard, a tenth of a second at a time."""
    began = time.monotonic()
    for tenth in range(round(seconds * 10)):
        time.sleep(max(0.0, began + tenth / 10 - time.monotonic()))
        pipe.write(pcm(0.1))


def listen(source: LivePcm) -> list[SourceItem]:
    async def run() -> list[SourceItem]:
        async with asyncio.timeout(TIMEOUT_SECONDS), aclosing(source.items()) as items:
            return [item async for item in items]

    return asyncio.run(run())


def holes(items: list[SourceItem]) -> list[float]:
    """Seconds of sound that are missing, one by one."""
    blocks = [item for item in items if isinstance(item, Block)]
    missing = [later.first_sample - earlier.end_sample for earlier, later in itertools.pairwise(blocks)]
    return [hole / RATE_HZ for hole in missing if hole]


@pytest.mark.slow
class TestLivePcm:
    def test_a_stall_is_lost_and_what_comes_after_it_is_a_new_stream(self) -> None:
        times: dict[str, float] = {}

        def play(pipe: BinaryIO) -> None:
            play_live(pipe, 2.0)
            time.sleep(STALL_SECONDS + 1.5)
            times["again"] = time.time()
            play_live(pipe, 2.0)

        with feeder(play) as stream:
            source = LivePcm(PcmInput("pipe", input_stream=stream), stall_seconds=STALL_SECONDS)
            items = listen(source)
        news = [item for item in items if not isinstance(item, Block)]
        assert [type(item) for item in news] == [StreamOpened, StreamLost, StreamOpened]
        assert news[1] == StreamLost("standard input: no audio received for 2 s")
        assert isinstance(news[2], StreamOpened)
        assert news[2].started.timestamp() == pytest.approx(times["again"], abs=0.7)
        assert source.reconnects == 1

    def test_sound_that_was_lost_in_a_short_stall_is_a_hole(self) -> None:
        def play(pipe: BinaryIO) -> None:
            for _ in range(2):
                play_live(pipe, 2.0)
                time.sleep(1.5)
            play_live(pipe, 1.0)

        with feeder(play) as stream:
            source = LivePcm(PcmInput("pipe", input_stream=stream))
            items = listen(source)
        assert isinstance(items[0], StreamOpened)
        assert holes(items) == pytest.approx([1.5, 1.5], abs=0.4)
        assert source.dropped_blocks >= 20

    def test_sound_that_was_only_late_is_no_hole(self) -> None:
        def play(pipe: BinaryIO) -> None:
            play_live(pipe, 2.0)
            time.sleep(1.5)
            pipe.write(pcm(1.5))
            play_live(pipe, 1.0)

        with feeder(play) as stream:
            items = listen(LivePcm(PcmInput("pipe", input_stream=stream)))
        assert holes(items) == []

    def test_what_waited_in_the_pipe_is_not_heard(self) -> None:
        """A sample that was cut by it stays whole."""
        written = threading.Event()

        def play(pipe: BinaryIO) -> None:
            pipe.write(b"\1" * 30_001)
            written.set()
            time.sleep(0.5)
            pipe.write(b"\1")
            play_live(pipe, 1.0)

        with feeder(play) as stream:
            assert written.wait(TIMEOUT_SECONDS)
            items = listen(LivePcm(PcmInput("pipe", input_stream=stream)))
        samples = np.concatenate([item.samples for item in items if isinstance(item, Block)])
        assert len(samples) == RATE_HZ + 1
        np.testing.assert_array_equal(samples[1:], 0.25)

    def test_a_burst_at_the_start_was_heard_before(self) -> None:
        """A writer that waited for us, and then catches up."""

        def play(pipe: BinaryIO) -> None:
            pipe.write(pcm(4.0))
            play_live(pipe, 1.0)

        with feeder(play) as stream:
            began = datetime.now(UTC)
            items = listen(LivePcm(PcmInput("pipe", input_stream=stream)))
        assert isinstance(items[0], StreamOpened)
        assert -4.8 < (items[0].started - began).total_seconds() < -2.0

    def test_an_endless_input_is_read_in_real_time(self) -> None:
        async def run(stream: BinaryIO) -> int:
            sample_count = 0
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(3),
                    aclosing(LivePcm(PcmInput("pipe", input_stream=stream)).items()) as items,
                ):
                    async for item in items:
                        sample_count += len(item.samples) if isinstance(item, Block) else 0
            return sample_count

        with Path("/dev/zero").open("rb") as stream:
            assert asyncio.run(run(stream)) < 120 * RATE_HZ


def test_nothing_at_all() -> None:
    with feeder(lambda pipe: None) as stream:
        assert listen(LivePcm(PcmInput("pipe", input_stream=stream))) == []


def test_a_terminal_is_refused() -> None:
    controller, terminal = os.openpty()
    with (
        os.fdopen(terminal, "rb") as stream,
        os.fdopen(controller, "rb"),
        pytest.raises(SourceError, match="source pipe: standard input is a terminal"),
    ):
        listen(LivePcm(PcmInput("pipe", input_stream=stream)))
