"""The thread that owns the model: newest wins, batches over sources, change of labels in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.config import LabelSet, load_settings
from clapstream.inference.worker import ModelWorker, ScoredWindow

Floats = NDArray[np.float32]


class LoudnessDetector:
    """Scores a window by its first sample; `gate` holds a batch back until it is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.factor = 1.0
        self.threads: set[int] = set()

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> Floats:
        assert [position.first_sample for position in positions] == [window[0] for window in windows]
        self.entered.set()
        self.gate.wait(10)
        self.batches.append(len(windows))
        self.threads.add(threading.get_ident())
        return np.array([[window[0] * self.factor] for window in windows], dtype=np.float32)

    def relabel(self, label_set: LabelSet) -> None:
        self.entered.set()
        self.gate.wait(10)
        if len(label_set.labels) == 1:
            raise ValueError("one label only")
        self.factor = -1.0


def window(value: float) -> Floats:
    return np.full(4, value, dtype=np.float32)


def place(first_sample: int) -> StreamPosition:
    return StreamPosition("a stream", first_sample)


async def with_worker(body: Callable[[ModelWorker, LoudnessDetector], object]) -> None:
    detector = LoudnessDetector()
    worker = ModelWorker(lambda: detector)
    ready: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(worker.run(ready.set_result))
    await asyncio.wait_for(ready, 10)
    try:
        await asyncio.wait_for(body(worker, detector), 20)  # type: ignore[arg-type]
    finally:
        detector.gate.set()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def test_newest_replaces_unread_and_says_so() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        results: list[float] = []

        def deliver(scored: ScoredWindow) -> None:
            results.append(float(scored.scores[0]))

        detector.gate.clear()
        assert worker.offer("hall", window(1), place(1), deliver) is False
        await until(detector.entered.is_set)
        assert worker.offer("hall", window(2), place(2), deliver) is False
        assert worker.offer("hall", window(3), place(3), deliver) is True
        assert worker.offer("yard", window(4), place(4), deliver) is False
        detector.gate.set()
        await until(lambda: len(results) == 3)
        assert results == [1.0, 3.0, 4.0]
        assert detector.batches == [1, 2]
        assert len(detector.threads) == 1
        assert threading.get_ident() not in detector.threads

    asyncio.run(with_worker(body))


def test_a_withdrawn_window_is_never_delivered() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        results: list[ScoredWindow] = []
        detector.gate.clear()
        worker.offer("hall", window(1), place(1), results.append)
        await until(detector.entered.is_set)
        worker.offer("hall", window(2), place(2), results.append)
        worker.withdraw("hall")
        worker.offer("yard", window(3), place(3), results.append)
        detector.gate.set()
        await until(lambda: len(results) == 2)
        assert [float(result.scores[0]) for result in results] == [1.0, 3.0]

    asyncio.run(with_worker(body))


def test_labels_change_between_the_last_old_and_the_first_new_result() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        news: list[object] = []
        detector.gate.clear()
        worker.offer("hall", window(1), place(1), lambda scored: news.append(float(scored.scores[0])))
        await until(detector.entered.is_set)
        change = asyncio.create_task(worker.relabel(load_settings(None).labels, lambda: news.append("changed")))
        await asyncio.sleep(0.02)
        worker.offer("hall", window(2), place(2), lambda scored: news.append(float(scored.scores[0])))
        detector.gate.set()
        await change
        await until(lambda: len(news) == 3)
        assert news == [1.0, "changed", -2.0]

    asyncio.run(with_worker(body))


def test_a_refused_change_of_labels_is_raised_and_scoring_goes_on() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        labels = load_settings(None).labels
        one = labels.model_copy(update={"labels": labels.labels[:1]})
        with pytest.raises(ValueError, match="one label only"):
            await worker.relabel(one, lambda: None)
        results: list[ScoredWindow] = []
        worker.offer("hall", window(5), place(5), results.append)
        await until(lambda: len(results) == 1)
        assert float(results[0].scores[0]) == 5.0

    asyncio.run(with_worker(body))


def test_what_breaks_in_the_thread_is_raised_by_run() -> None:
    def load() -> LoudnessDetector:
        raise RuntimeError("no such checkpoint")

    async def body() -> None:
        with pytest.raises(RuntimeError, match="no such checkpoint"):
            await ModelWorker(load).run(lambda detector: None)

    asyncio.run(body())


def test_the_beat_stops_while_a_batch_hangs() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        detector.gate.clear()
        worker.offer("hall", window(1), place(1), lambda scored: None)
        await until(detector.entered.is_set)
        first = worker.seconds_since_beat
        await asyncio.sleep(0.05)
        assert worker.seconds_since_beat >= first + 0.05
        assert worker.hangs(0.05) and not worker.hangs(60.0)
        detector.gate.set()
        await until(lambda: worker.seconds_since_beat < 0.05)

    asyncio.run(with_worker(body))


def test_embedding_labels_for_a_while_is_not_hanging() -> None:
    async def body(worker: ModelWorker, detector: LoudnessDetector) -> None:
        detector.gate.clear()
        change = asyncio.create_task(worker.relabel(load_settings(None).labels, lambda: None))
        await until(detector.entered.is_set)
        await asyncio.sleep(0.05)
        assert not worker.hangs(0.05)
        detector.gate.set()
        await change
        detector.entered.clear()
        detector.gate.clear()
        worker.offer("hall", window(1), place(1), lambda scored: None)
        await until(detector.entered.is_set)
        await asyncio.sleep(0.05)
        assert worker.hangs(0.05), "the patience was for the labels"

    asyncio.run(with_worker(body))
