"""Raw samples from pipes and files."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.pcm.pcm import Pcm
from clapstream.audio.pcm.pcm_input import PcmInput
from clapstream.audio.source import SourceError


@contextmanager
def pipe_of(pieces: list[bytes]) -> Iterator[BinaryIO]:
    """A pipe into which a thread writes the pieces one by one."""
    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for piece in pieces:
                pipe.write(piece)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(read_end, "rb") as stream:
        yield stream
        writer.join()


def listen(source: Pcm) -> list[SourceItem]:
    async def run() -> list[SourceItem]:
        async with asyncio.timeout(60):
            return [item async for item in source.items()]

    return asyncio.run(run())


def joined(items: list[SourceItem]) -> np.ndarray:
    blocks = [item for item in items if isinstance(item, Block)]
    assert all(later.first_sample == earlier.end_sample for earlier, later in itertools.pairwise(blocks))
    return np.concatenate([block.samples for block in blocks]) if blocks else np.zeros(0, dtype=np.float32)


SAMPLES = np.random.default_rng(7).integers(-32_768, 32_768, 20_000).astype("<i2")


class TestChannels:
    STEREO = np.stack([SAMPLES, SAMPLES[::-1]], axis=1).astype("<i2")

    @pytest.mark.parametrize(("channel", "expected"), [("left", SAMPLES), (1, SAMPLES[::-1])])
    def test_one_of_two(self, channel: str | int, expected: np.ndarray) -> None:
        with pipe_of([self.STEREO.tobytes()]) as stream:
            heard = joined(listen(Pcm(PcmInput("pipe", RATE_HZ, 2, channel, input_stream=stream))))
        np.testing.assert_array_equal(heard, expected.astype(np.float32) / 32_768)

    def test_channels_that_cancel_out_are_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        sound = np.random.default_rng(3).integers(-20_000, 20_000, 6 * RATE_HZ)
        with pipe_of([np.stack([sound, -sound], axis=1).astype("<i2").tobytes()]) as stream:
            listen(Pcm(PcmInput("pipe", RATE_HZ, 2, input_stream=stream)))
        assert [line for line in caplog.messages if line.startswith("source pipe: its 2 channels cancel")]


class TestPcm:
    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.integers(1, 40_000), max_size=20))
    def test_any_cut_gives_the_same_sound(self, cuts: list[int]) -> None:
        data = SAMPLES.tobytes()
        edges = [0, *(cut for cut in sorted(set(cuts)) if cut < len(data)), len(data)]
        with pipe_of([data[start:end] for start, end in itertools.pairwise(edges)]) as stream:
            items = listen(Pcm(PcmInput("pipe", input_stream=stream)))
        assert isinstance(items[0], StreamOpened)
        np.testing.assert_array_equal(joined(items), SAMPLES.astype(np.float32) / 32_768)

    def test_channels_are_mixed(self) -> None:
        stereo = np.tile(np.array([8192, 16_384], dtype="<i2"), 4800)
        with pipe_of([stereo.tobytes()]) as stream:
            samples = joined(listen(Pcm(PcmInput("pipe", channels=2, input_stream=stream))))
        np.testing.assert_array_equal(samples, np.full(4800, 0.375, dtype=np.float32))

    def test_other_rates(self) -> None:
        with pipe_of([SAMPLES[:16_000].tobytes()]) as stream:
            assert len(joined(listen(Pcm(PcmInput("pipe", 16_000, input_stream=stream))))) == RATE_HZ

    @pytest.mark.parametrize(("channels", "extra"), [(1, 1), (2, 1), (2, 3)])
    def test_a_torn_sample_at_the_end_is_left_out(
        self, channels: int, extra: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = SAMPLES.tobytes() + bytes(extra)
        with pipe_of([data]) as stream, caplog.at_level(logging.WARNING):
            samples = joined(listen(Pcm(PcmInput("pipe", channels=channels, input_stream=stream))))
        assert len(samples) == len(SAMPLES) // channels
        assert [record.message for record in caplog.records] == [
            "source pipe: the input ended in the middle of a sample"
        ]

    def test_nothing_at_all(self) -> None:
        with pipe_of([]) as stream:
            assert listen(Pcm(PcmInput("pipe", input_stream=stream))) == []

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "sound.raw").write_bytes(SAMPLES.tobytes())
        with (tmp_path / "sound.raw").open("rb") as stream:
            samples = joined(listen(Pcm(PcmInput("pipe", input_stream=stream))))
        np.testing.assert_array_equal(samples, SAMPLES.astype(np.float32) / 32_768)

    def test_an_endless_input_leaves_the_loop_alive(self) -> None:
        async def run(stream: BinaryIO) -> None:
            async def consume() -> None:
                async for _ in Pcm(PcmInput("pipe", input_stream=stream)).items():
                    pass

            task = asyncio.create_task(consume())
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        with Path("/dev/zero").open("rb") as stream:
            asyncio.run(run(stream))

    def test_waiting_for_sound_can_be_cancelled_and_leaves_the_pipe_as_it_was(self) -> None:
        read_end, write_end = os.pipe()

        async def run(stream: BinaryIO) -> None:
            async with aclosing(Pcm(PcmInput("pipe", input_stream=stream)).items()) as items:
                waiting = asyncio.create_task(anext(items))
                await asyncio.sleep(0.05)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

        with os.fdopen(read_end, "rb") as stream, os.fdopen(write_end, "wb"):
            asyncio.run(run(stream))
            assert os.get_blocking(read_end)

    def test_a_terminal_is_refused(self) -> None:
        controller, terminal = os.openpty()
        with (
            os.fdopen(terminal, "rb") as stream,
            os.fdopen(controller, "rb"),
            pytest.raises(SourceError, match="source pipe: standard input is a terminal"),
        ):
            listen(Pcm(PcmInput("pipe", input_stream=stream)))
