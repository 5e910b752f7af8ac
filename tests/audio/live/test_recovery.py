"""Reconnecting: without end, with growing delays, reported once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import numpy as np
import pytest
from support.audio_items import first_items

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.live.recovery import RECOVERED_SAMPLES, StreamBrokenError, keep_streaming
from clapstream.process.backoff import Backoff

OPENED = StreamOpened(datetime(2026, 1, 1, tzinfo=UTC))


def block(end_sample: int = 4800) -> Block:
    return Block(end_sample - 4800, np.zeros(4800, dtype=np.float32))


class CountingBackoff(Backoff):
    """A backoff without waiting that remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        super().__init__()

    def reset(self) -> None:
        self.calls.append("reset")

    def next_seconds(self) -> float:
        self.calls.append("wait")
        return 0.0


class ScriptedStreams:
    """Connects to one scripted stream after the other; an exception in the script breaks the stream."""

    def __init__(self, *scripts: list[SourceItem | Exception]) -> None:
        self.scripts = list(scripts)
        self.closed = 0

    async def connect(self) -> AsyncGenerator[SourceItem, None]:
        try:
            for item in self.scripts.pop(0):
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed += 1


def collect(streams: ScriptedStreams, backoff: Backoff, count: int) -> list[SourceItem]:
    return first_items(keep_streaming("kitchen", streams.connect, backoff), count)


class TestKeepStreaming:
    def test_a_loss_is_reported_once_and_the_stream_comes_back(self) -> None:
        broken = StreamBrokenError("unplugged")
        first, second = block(), block()
        streams = ScriptedStreams([OPENED, first, broken], [broken], [StreamBrokenError("still")], [OPENED, second])
        backoff = CountingBackoff()
        items = collect(streams, backoff, 5)
        assert items == [OPENED, first, StreamLost("unplugged"), OPENED, second]
        assert backoff.calls.count("wait") == 3
        assert streams.closed == 4

    def test_absence_at_the_start_is_a_loss(self) -> None:
        streams = ScriptedStreams([StreamBrokenError("absent")], [StreamBrokenError("absent")], [OPENED])
        assert collect(streams, CountingBackoff(), 2) == [StreamLost("absent"), OPENED]

    def test_an_end_is_a_loss(self) -> None:
        streams = ScriptedStreams([OPENED], [OPENED])
        assert collect(streams, CountingBackoff(), 3) == [OPENED, StreamLost("the stream ended"), OPENED]

    @pytest.mark.parametrize(("sample_count", "resets"), [(RATE_HZ, 0), (RECOVERED_SAMPLES, 1)])
    def test_only_lasting_sound_resets_the_backoff(self, sample_count: int, resets: int) -> None:
        backoff = CountingBackoff()
        backoff.calls.clear()
        collect(ScriptedStreams([OPENED, block(sample_count)]), backoff, 2)
        assert backoff.calls.count("reset") == resets

    def test_other_faults_pass(self) -> None:
        with pytest.raises(ZeroDivisionError):
            collect(ScriptedStreams([OPENED, ZeroDivisionError()]), CountingBackoff(), 2)
