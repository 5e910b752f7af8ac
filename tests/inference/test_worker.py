"""The model thread: newest wins, batches over sources, segments, what breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.inference.engine import Embeddings
from clapstream.inference.worker import EmbeddedWindow, ModelWorker

Floats = NDArray[np.float32]


class FirstSampleEngine:
    """Embeds a window as its first sample; `gate` holds a batch back until it is opened."""

    checkpoint = "test"
    runs_on = "nothing"
    segment_spans = ()

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self.has_segments = False
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def embed(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Embeddings:
        assert positions is not None
        assert [position.first_sample for position in positions] == [window[0] for window in windows]
        self.entered.set()
        self.gate.wait(10)
        self.batches.append(len(windows))
        self.threads.add(threading.get_ident())
        found = np.array([[window[0]] for window in windows], dtype=np.float32)
        return Embeddings(found, np.stack([found, -found], axis=1) if self.has_segments else None)


def window(value: float) -> Floats:
    return np.full(4, value, dtype=np.float32)


def place(first_sample: int) -> StreamPosition:
    return StreamPosition("a stream", first_sample)


async def with_worker(body: Callable[[ModelWorker, FirstSampleEngine], object]) -> None:
    engine = FirstSampleEngine()
    worker = ModelWorker(lambda: engine)
    ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(worker.run(ready.set_result))
    await asyncio.wait_for(ready, 10)
    try:
        await asyncio.wait_for(body(worker, engine), 20)  # type: ignore[arg-type]
    finally:
        engine.gate.set()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def test_newest_replaces_unread_and_says_so() -> None:
    async def body(worker: ModelWorker, engine: FirstSampleEngine) -> None:
        results: list[float] = []

        def deliver(embedded: EmbeddedWindow) -> None:
            results.append(float(embedded.embedding[0]))

        engine.gate.clear()
        assert worker.offer("hall", window(1), place(1), deliver) is False
        await until(engine.entered.is_set)
        assert worker.offer("hall", window(2), place(2), deliver) is False
        assert worker.offer("hall", window(3), place(3), deliver) is True
        assert worker.offer("yard", window(4), place(4), deliver) is False
        engine.gate.set()
        await until(lambda: len(results) == 3)
        assert results == [1.0, 3.0, 4.0]
        assert engine.batches == [1, 2]
        assert len(engine.threads) == 1
        assert threading.get_ident() not in engine.threads

    asyncio.run(with_worker(body))


def test_a_withdrawn_window_is_never_delivered() -> None:
    async def body(worker: ModelWorker, engine: FirstSampleEngine) -> None:
        results: list[EmbeddedWindow] = []
        engine.gate.clear()
        worker.offer("hall", window(1), place(1), results.append)
        await until(engine.entered.is_set)
        worker.offer("hall", window(2), place(2), results.append)
        worker.withdraw("hall")
        worker.offer("yard", window(3), place(3), results.append)
        engine.gate.set()
        await until(lambda: len(results) == 2)
        assert [float(result.embedding[0]) for result in results] == [1.0, 3.0]

    asyncio.run(with_worker(body))


def test_each_window_gets_its_own_segments() -> None:
    async def body(worker: ModelWorker, engine: FirstSampleEngine) -> None:
        results: list[EmbeddedWindow] = []
        worker.offer("hall", window(1), place(1), results.append)
        await until(lambda: len(results) == 1)
        assert results[0].segments is None, "this engine has none"
        engine.has_segments = True
        engine.gate.clear()
        engine.entered.clear()
        worker.offer("hall", window(2), place(2), results.append)
        await until(engine.entered.is_set)
        worker.offer("hall", window(3), place(3), results.append)
        worker.offer("yard", window(4), place(4), results.append)
        engine.gate.set()
        await until(lambda: len(results) == 4)
        segments = [result.segments.tolist() for result in results[1:] if result.segments is not None]
        assert segments == [[[2.0], [-2.0]], [[3.0], [-3.0]], [[4.0], [-4.0]]]

    asyncio.run(with_worker(body))


def test_what_breaks_in_the_thread_is_raised_by_run() -> None:
    def load() -> FirstSampleEngine:
        raise RuntimeError("no such checkpoint")

    async def body() -> None:
        with pytest.raises(RuntimeError, match="no such checkpoint"):
            await ModelWorker(load).run(lambda engine: None)

    asyncio.run(body())


def test_what_breaks_in_a_delivery_is_raised_by_run() -> None:
    """The event loop alone would only log it."""

    def deliver(embedded: EmbeddedWindow) -> None:
        raise ValueError("cannot score it")

    async def body() -> None:
        worker = ModelWorker(FirstSampleEngine)
        worker.offer("hall", window(1), place(1), deliver)
        with pytest.raises(ValueError, match="cannot score it"):
            await asyncio.wait_for(worker.run(lambda engine: None), 20)

    asyncio.run(body())


def test_the_beat_stops_while_a_batch_hangs() -> None:
    async def body(worker: ModelWorker, engine: FirstSampleEngine) -> None:
        engine.gate.clear()
        worker.offer("hall", window(1), place(1), lambda embedded: None)
        await until(engine.entered.is_set)
        first = worker.seconds_since_beat
        await asyncio.sleep(0.05)
        assert worker.seconds_since_beat >= first + 0.05
        engine.gate.set()
        await until(lambda: worker.seconds_since_beat < 0.05)

    asyncio.run(with_worker(body))
