"""One source from sound to updates, with a source and a model that the test plays itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.scoring import listened
from support.sources import HALL

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.detection.detector import DetectorRule
from clapstream.detection.events import EventRule
from clapstream.inference.worker import Deliver, EmbeddedWindow
from clapstream.updates import (
    EventEnded,
    EventStarted,
    LabelInfo,
    SourceAvailability,
    SourceDiagnostics,
    Update,
    WindowHeard,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOP = RATE_HZ // 10
WINDOW = 4 * HOP
Kind = TypeVar("Kind")
LOUD = LabelInfo("loud", "loud", start=0.6, stop=0.4)


class ScriptedSource:
    """Plays items that the test puts into its queue; None ends it, an exception is raised."""

    def __init__(self) -> None:
        self.name = "hall"
        self.dropped_blocks = 0
        self.reconnects = 0
        self.silent = False
        self.queue: asyncio.Queue[SourceItem | BaseException | None] = asyncio.Queue()
        self.opened = 0
        self.closed = 0

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        self.opened += 1
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed += 1


class PlayedModel:
    """Keeps the newest window of a source until the test lets it score: by its loudest sample."""

    def __init__(self, at_once: bool = True) -> None:
        self.at_once = at_once
        self.unread: dict[str, tuple[NDArray[np.float32], Deliver]] = {}
        self.positions: list[StreamPosition] = []
        self.withdrawn = 0

    def offer(self, source: str, samples: NDArray[np.float32], position: StreamPosition, deliver: Deliver) -> bool:
        self.positions.append(position)
        replaced = source in self.unread
        self.unread[source] = (samples, deliver)
        if self.at_once:
            asyncio.get_running_loop().call_soon(self.score)
        return replaced

    def withdraw(self, source: str) -> None:
        if self.unread.pop(source, None) is not None:
            self.withdrawn += 1

    def score(self) -> None:
        for samples, deliver in list(self.unread.values()):
            deliver(EmbeddedWindow(np.array([np.abs(samples).max()], dtype=np.float32), None, 5.0))
        self.unread.clear()


class Bench:
    """A pipeline under test and everything it published."""

    def __init__(
        self, *, live: bool = True, at_once: bool = True, rules: Sequence[EventRule] | None = None
    ) -> None:
        self.source = ScriptedSource()
        self.model = PlayedModel(at_once)
        self.updates: list[Update] = []
        self.now = NOON
        self.pipeline = SourcePipeline(
            self.source,
            live=live,
            rule=DetectorRule(WINDOW, HOP),
            worker=self.model,
            publish=self.updates.append,
            now=lambda: self.now,
        )
        self.pipeline.use_labels(listened(rules or [EventRule(LOUD)]))

    def sound(self, first_sample: int, hops: int, level: float = 0.0) -> None:
        self.source.queue.put_nowait(Block(first_sample, np.full(hops * HOP, level, dtype=np.float32)))

    def hops(self, levels: Sequence[float], first_hop: int = 0) -> None:
        for index, level in enumerate(levels, start=first_hop):
            self.sound(index * HOP, 1, level)

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [update for update in self.updates if isinstance(update, kind)]


async def settle() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def run(bench: Bench, body: Callable[[asyncio.Task[None]], Awaitable[None]]) -> None:
    async def main() -> None:
        task = asyncio.create_task(bench.pipeline.run())
        try:
            await asyncio.wait_for(body(task), 10)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_sound_becomes_one_event_with_times_from_the_stream() -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        for hop, level in enumerate([0.0] * 6 + [0.9, 0.9] + [0.0] * 8):
            bench.hops([level], hop)
            await settle()
        bench.source.queue.put_nowait(None)
        await task

    run(bench, body)
    (started,), (ended,) = bench.of(EventStarted), bench.of(EventEnded)
    assert started.event.id == ended.event.id
    assert started.event.started == NOON + timedelta(seconds=0.6)
    assert ended.event.ended == NOON + timedelta(seconds=0.8)
    assert ended.event.duration_seconds == pytest.approx(0.2)
    heard = bench.of(WindowHeard)
    assert len(heard) == 16
    assert [window.partial for window in heard[:5]] == [True, True, True, False, False]
    assert heard[5].ended == NOON + timedelta(seconds=0.6)
    assert [window.scores[0].active for window in heard].count(True) == 5
    assert bench.of(SourceDiagnostics)[-1].windows == 16


def test_windows_carry_their_place_and_a_new_stream_is_another() -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        for minute in range(2):
            bench.source.queue.put_nowait(StreamOpened(NOON + timedelta(minutes=minute)))
            bench.hops([0.0] * (WINDOW // HOP + 2))
            await settle()

    run(bench, body)
    places = bench.model.positions
    half = len(places) // 2
    assert [place.first_sample for place in places[:half]][-3:] == [0, HOP, 2 * HOP]
    assert [place.first_sample for place in places[half:]][-3:] == [0, HOP, 2 * HOP]
    assert len({id(place.stream) for place in places[:half]}) == 1
    assert places[0].stream is not places[half].stream


def test_every_window_of_a_source_that_is_not_live_is_scored() -> None:
    bench = Bench(live=False)

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.sound(0, 50)
        bench.source.queue.put_nowait(Block(50 * HOP, np.zeros(HOP // 2, dtype=np.float32)))
        bench.source.queue.put_nowait(None)
        await task

    run(bench, body)
    assert len(bench.of(WindowHeard)) == 51, "the last one ends with the sound, half a hop later"
    assert bench.of(SourceDiagnostics)[-1].skipped_windows == 0


def test_unread_live_windows_are_skipped_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(at_once=False)

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.1] * 10)
        await settle()
        bench.model.score()
        (heard,) = bench.of(WindowHeard)
        assert heard.ended == NOON + timedelta(seconds=1.0), "the newest one"
        assert bench.of(SourceDiagnostics)[-1].skipped_windows == 9
        for hop in range(10, 20):
            bench.hops([0.1], hop)
            await settle()
            bench.model.score()

    with caplog.at_level("INFO", "clapstream"):
        run(bench, body)
    messages = [record.message for record in caplog.records]
    assert sum("cannot keep up" in message for message in messages) == 1
    assert sum("keeps up again" in message for message in messages) == 1


def test_a_lost_stream_ends_its_events_and_a_late_result_changes_nothing() -> None:
    bench = Bench(at_once=False)

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()
        bench.model.score()
        bench.hops([0.9], 1)
        await settle()
        late = dict(bench.model.unread)
        bench.source.queue.put_nowait(StreamLost("unplugged"))
        await settle()
        assert [update.online for update in bench.of(SourceAvailability)] == [True, False]
        assert bench.of(SourceAvailability)[-1].reason == "unplugged"
        (ended,) = bench.of(EventEnded)
        assert ended.event.ended == NOON + timedelta(seconds=0.1)
        assert bench.model.withdrawn == 1
        count = len(bench.updates)
        for samples, deliver in late.values():
            deliver(EmbeddedWindow(samples[:1], None, 1.0))
        assert len(bench.updates) == count
        bench.source.queue.put_nowait(StreamOpened(NOON + timedelta(minutes=1)))
        bench.hops([0.9])
        await settle()
        bench.model.score()
        assert bench.of(EventStarted)[-1].event.started == NOON + timedelta(minutes=1)

    run(bench, body)
    assert len(bench.of(EventStarted)) == len(bench.of(EventEnded)) == 2


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0, 0, 0, 2, 3_600, -3_600, 8 * 3_600, -86_400])), max_size=40
    )
)
def test_clock_jumps_neither_change_durations_nor_leave_events_active(hops: list[tuple[bool, int]]) -> None:
    """The wall clock is set, or the machine sleeps, between any two blocks of one stream."""
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        for index, (loud, jump_seconds) in enumerate(hops):
            bench.now += timedelta(seconds=0.1 + jump_seconds)
            bench.hops([0.9 if loud else 0.0], index)
            await settle()

    run(bench, body)
    started, ended = bench.of(EventStarted), bench.of(EventEnded)
    assert [update.event.id for update in started] == [update.event.id for update in ended]
    for update in ended:
        assert update.event.duration_seconds is not None and update.event.ended is not None
        assert 0.0 <= update.event.duration_seconds <= 0.1 * len(hops)
        assert update.event.started <= update.event.ended
    times = [window.ended for window in bench.of(WindowHeard)]
    assert times == sorted(times)


def test_the_switch_closes_the_source_and_opens_it_again() -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()
        bench.pipeline.set_listening(False)
        await settle()
        assert (bench.source.opened, bench.source.closed) == (1, 1)
        assert len(bench.of(EventEnded)) == 1
        assert not task.done()
        bench.pipeline.set_listening(True)
        await settle()
        assert bench.source.opened == 2

    run(bench, body)
    assert bench.pipeline.listening


@pytest.mark.parametrize("flips", [2, 4])
def test_a_switch_flipped_faster_than_the_source_closes_leaves_it_open(flips: int) -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()
        for flip in range(flips):
            bench.pipeline.set_listening(flip % 2 == 1)
        await settle()
        assert not task.done()
        assert (bench.source.opened, bench.source.closed) == (2, 1)
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()
        assert len(bench.of(EventStarted)) == 2

    run(bench, body)


def test_an_unexpected_cancellation_of_a_source_ends_the_run() -> None:
    """A task group takes a cancelled task for one that is done: the source would be gone and nobody would know."""
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        await settle()
        bench.source.queue.put_nowait(asyncio.CancelledError())
        with pytest.raises(RuntimeError, match="cancelled unexpectedly"):
            await task

    run(bench, body)


def test_stopping_ends_what_is_going_on_and_says_offline_last() -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()

    run(bench, body)
    assert bench.source.closed == 1
    assert isinstance(bench.updates[-2], EventEnded)
    assert bench.updates[-1] == SourceAvailability(HALL, online=False, reason="stopped")


def test_a_removed_label_ends_its_event() -> None:
    other = LabelInfo("other", "other", start=0.6, stop=0.4)
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.source.queue.put_nowait(StreamOpened(NOON))
        bench.hops([0.9])
        await settle()
        bench.pipeline.use_labels(listened([EventRule(other)]))
        bench.hops([0.9], 1)
        await settle()

    run(bench, body)
    assert [update.event.label.slug for update in bench.of(EventStarted)] == ["loud", "other"]
    assert [update.event.label.slug for update in bench.of(EventEnded)] == ["loud", "other"]
    assert {update.event.id for update in bench.of(EventStarted)} == {
        update.event.id for update in bench.of(EventEnded)
    }


def test_a_source_that_breaks_its_contract_ends_the_run() -> None:
    bench = Bench()

    async def body(task: asyncio.Task[None]) -> None:
        bench.hops([0.0])
        with pytest.raises(RuntimeError, match="before its stream opened"):
            await task

    run(bench, body)
