"""The one thread that owns the model: it takes the newest window of every source and scores them as one batch.

When it cannot keep up, the newest window replaces the unread one of the same source, so what is scored is always
the present. Each window given up is reported by `offer`, for the caller to count.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.config import LabelSet

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0

THREAD_NAME = "model-worker"
LEAVE_SECONDS = 2.0
"""How long the thread may take to finish its batch on the way down; a hung device is not waited for."""

RELABEL_SECONDS = 300.0
"""How long embedding new labels may take: a large text tower on a busy machine, as at the start."""


class WindowDetector(Protocol):
    """What the worker runs: built and used on the worker's thread alone."""

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> Floats:
        """Scores `(windows, labels)` of mono 48 kHz samples `(frames,)` each, which lie at `positions`."""

    def relabel(self, label_set: LabelSet) -> None:
        """Score against another label set from now on."""


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """Scores `(labels,)` of one window, and the milliseconds its batch took."""

    scores: Floats
    inference_ms: float


Deliver = Callable[[ScoredWindow], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    samples: Floats
    position: StreamPosition
    deliver: Deliver


@dataclass(frozen=True, slots=True, eq=False)
class _Relabel:
    label_set: LabelSet
    applied: Callable[[], None]
    done: asyncio.Future[None]


class ModelWorker:
    """Runs a detector on a thread of its own; every public method belongs to the event loop."""

    def __init__(self, load: Callable[[], WindowDetector]) -> None:
        self._load = load
        self._condition = threading.Condition()
        self._unread: dict[str, _Request] = {}
        self._relabels: list[_Relabel] = []
        self._stopping = False
        self._relabelling = False
        self._last_beat = time.monotonic()

    @property
    def seconds_since_beat(self) -> float:
        """How long ago the thread last came round its loop; grows while a batch hangs."""
        return time.monotonic() - self._last_beat

    def hangs(self, patience_seconds: float) -> bool:
        """Whether the thread has not come round for so long; new labels are granted `RELABEL_SECONDS`."""
        return self.seconds_since_beat >= max(patience_seconds, RELABEL_SECONDS if self._relabelling else 0.0)

    def offer(self, source: str, samples: Floats, position: StreamPosition, deliver: Deliver) -> bool:
        """Hand over the newest window of a source; returns True if it replaced one that nobody had read.

        `deliver` is called on the event loop with the result, never for a window that was replaced or withdrawn.
        """
        with self._condition:
            replaced = source in self._unread
            self._unread[source] = _Request(samples, position, deliver)
            self._condition.notify()
        return replaced

    def withdraw(self, source: str) -> None:
        """Forget the unread window of a source."""
        with self._condition:
            self._unread.pop(source, None)

    async def relabel(self, label_set: LabelSet, applied: Callable[[], None]) -> None:
        """Change the labels; `applied` runs on the loop after the last old result and before the first new one.

        Raises what embedding the labels raises; the old labels then stay.
        """
        request = _Relabel(label_set, applied, asyncio.get_running_loop().create_future())
        with self._condition:
            self._relabels.append(request)
            self._condition.notify()
        await request.done

    async def run(self, ready: Callable[[WindowDetector], None]) -> None:
        """Load the model, call `ready` on the loop, then score until cancelled. Raises what the thread raises."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()

        def body() -> None:
            try:
                self._work(loop, ready)
            except BaseException as error:
                _call_soon(loop, functools.partial(_fail, finished, error))
            else:
                _call_soon(loop, functools.partial(_succeed, finished))

        # A daemon thread: a hung device must not keep the process from leaving.
        threading.Thread(target=body, name=THREAD_NAME, daemon=True).start()
        try:
            await asyncio.shield(finished)
        finally:
            with self._condition:
                self._stopping = True
                self._unread.clear()
                self._condition.notify()
            # Python would end while the thread is inside torch, which takes that for a crash.
            await asyncio.wait([finished], timeout=LEAVE_SECONDS)

    def _work(self, loop: asyncio.AbstractEventLoop, ready: Callable[[WindowDetector], None]) -> None:
        with torch.inference_mode():  # thread-local: it has to be entered here
            detector = self._load()
            _call_soon(loop, functools.partial(ready, detector))
            while True:
                requests, relabels = self._wait()
                if self._stopping:
                    return
                self._relabelling = bool(relabels)
                for request in relabels:
                    _relabel(loop, detector, request)
                self._relabelling = False
                if requests:
                    _score(loop, detector, requests)

    def _wait(self) -> tuple[list[_Request], list[_Relabel]]:
        with self._condition:
            while not (self._unread or self._relabels or self._stopping):
                self._last_beat = time.monotonic()
                self._condition.wait(_IDLE_SECONDS)
            self._last_beat = time.monotonic()
            # After a change of labels the windows wait one round, so that they are scored with the new ones.
            requests = [] if self._relabels else list(self._unread.values())
            if requests:
                self._unread.clear()
            relabels, self._relabels = self._relabels, []
            return requests, relabels


def _score(loop: asyncio.AbstractEventLoop, detector: WindowDetector, requests: list[_Request]) -> None:
    started = time.perf_counter()
    scores = detector.score([request.samples for request in requests], [request.position for request in requests])
    inference_ms = (time.perf_counter() - started) * 1e3

    def deliver() -> None:
        for request, row in zip(requests, scores, strict=True):
            request.deliver(ScoredWindow(row, inference_ms))

    _call_soon(loop, deliver)


def _relabel(loop: asyncio.AbstractEventLoop, detector: WindowDetector, request: _Relabel) -> None:
    try:
        detector.relabel(request.label_set)
    except Exception as error:  # handed to the caller of `relabel`, who decides
        _call_soon(loop, functools.partial(_fail, request.done, error))
        return

    def apply() -> None:
        request.applied()
        _succeed(request.done)

    _call_soon(loop, apply)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop closed while the thread was in a batch: nobody is waiting any more
        _logger.debug("the event loop is closed; a result is dropped")


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
