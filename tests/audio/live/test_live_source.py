"""What live sources share, over scripted streams: silence, holes and stalls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import numpy as np
import pytest

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.channel_choice import ChannelChoice
from clapstream.audio.live.live_source import LiveSource
from clapstream.process.backoff import Backoff

OPENED = StreamOpened(datetime(2026, 1, 1, tzinfo=UTC))


def second(number: int, value: float = 0.0) -> Block:
    return Block(number * RATE_HZ, np.full(RATE_HZ, value, dtype=np.float32))


class ScriptedSource(LiveSource):
    """Gives a script; after its end nothing comes any more."""

    def __init__(self, *script: StreamOpened | Block) -> None:
        super().__init__("porch", ChannelChoice("porch", "mix"), Backoff(0.0, 0.0), stall_seconds=0.1)
        self.script = list(script)
        self.silent_after: list[bool] = []

    async def _stream(self) -> AsyncGenerator[StreamOpened | Block, None]:
        while self.script:
            item = self.script.pop(0)
            if isinstance(item, Block):
                self._channel.mono(item.samples[:, np.newaxis], RATE_HZ)
            yield item
            self.silent_after.append(self.silent)
        await asyncio.Event().wait()

    def _stall_reason(self) -> str:
        return "nothing came"


def listen(source: ScriptedSource) -> Sequence[SourceItem]:
    async def run() -> list[SourceItem]:
        items: list[SourceItem] = []
        async with asyncio.timeout(30), aclosing(source.items()) as stream:
            async for item in stream:
                items.append(item)
                if isinstance(item, StreamLost):
                    break
        return items

    return asyncio.run(run())


class TestLiveSource:
    def test_a_minute_of_digital_silence_is_warned_of_once(self, caplog: pytest.LogCaptureFixture) -> None:
        source = ScriptedSource(OPENED, *(second(number) for number in range(70)), second(70, 0.1), second(71))
        with caplog.at_level(logging.WARNING):
            listen(source)
        assert [source.silent_after[number] for number in (59, 60, 70, 71, 72)] == [False, True, True, False, False]
        assert len(caplog.records) == 1

    def test_holes_are_counted_in_tenths_of_a_second(self) -> None:
        source = ScriptedSource(OPENED, second(0, 0.1), second(5, 0.1))
        listen(source)
        assert source.dropped_blocks == 40

    def test_a_stream_without_sound_is_lost(self) -> None:
        assert listen(ScriptedSource(OPENED, second(0)))[-1] == StreamLost("nothing came")


class TestChannelsAndSilence:
    @staticmethod
    def silent_seconds(channel: str | int, *channels: np.ndarray) -> float:
        choice = ChannelChoice("porch", channel)
        for _ in range(3):
            choice.mono(np.stack(channels, axis=1).astype(np.float32), len(channels[0]))
        return choice.silent_seconds

    NOISE = np.random.default_rng(4).uniform(-0.5, 0.5, RATE_HZ)
    SILENCE = np.zeros(RATE_HZ)

    def test_channels_that_cancel_each_other_out_are_no_silence(self) -> None:
        assert self.silent_seconds("mix", self.NOISE, -self.NOISE) == 0
        assert self.silent_seconds("mix", self.SILENCE, self.SILENCE) == 3

    def test_only_the_chosen_channel_counts(self) -> None:
        assert self.silent_seconds("left", self.NOISE, self.SILENCE) == 0
        assert self.silent_seconds("right", self.NOISE, self.SILENCE) == 3

    def test_the_silence_of_a_law_is_not_0(self) -> None:
        assert self.silent_seconds("mix", self.SILENCE + 8 / 32_768) == 3
        assert self.silent_seconds("mix", np.tile([8 / 32_768, -8 / 32_768], RATE_HZ // 2)) == 0
