"""The model thread: it takes the newest window of every source and embeds them as one batch.

When it cannot keep up, the newest window replaces the unread one of the same source, so what is embedded is always
the present. `offer` reports each window that was replaced, for the caller to count.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.inference.engine import Engine

Floats = NDArray[np.float32]

_logger = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0

THREAD_NAME = "model-worker"
LEAVE_SECONDS = 2.0
"""How long the thread may take to finish its batch at shutdown; a hung device is not waited for."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedWindow:
    """Unit-length embeddings of one window and of its segments, and the milliseconds its batch took.

    `embedding` is `(dim,)`, `segments` `(segments, dim)` or None where the engine has none.
    """

    embedding: Floats
    segments: Floats | None
    inference_ms: float


Deliver = Callable[[EmbeddedWindow], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    samples: Floats
    position: StreamPosition
    deliver: Deliver


class ModelWorker:
    """Runs an engine on a thread of its own; every public method belongs to the event loop."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._condition = threading.Condition()
        self._unread: dict[str, _Request] = {}
        self._stopping = False
        self._last_beat = time.monotonic()

    @property
    def seconds_since_beat(self) -> float:
        """Seconds since the thread last began a pass of its loop; grows while a batch hangs."""
        return time.monotonic() - self._last_beat

    def offer(self, source: str, samples: Floats, position: StreamPosition, deliver: Deliver) -> bool:
        """Hand over the newest window of a source; returns True if it replaced one that was not read yet.

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

    async def run(self, ready: Callable[[Engine], None]) -> None:
        """Load the engine, call `ready` on the loop, then embed until cancelled.

        Raises what the thread raises, and what a `deliver` raises.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        thread_left: asyncio.Future[None] = loop.create_future()

        def body() -> None:
            try:
                self._work(loop, ready, functools.partial(_fail, finished))
            except BaseException as error:
                _call_soon(loop, functools.partial(_fail, finished, error))
            else:
                _call_soon(loop, functools.partial(_succeed, finished))
            finally:
                _call_soon(loop, functools.partial(_succeed, thread_left))

        # A daemon thread: a hung device must not keep the process from ending.
        threading.Thread(target=body, name=THREAD_NAME, daemon=True).start()
        try:
            await asyncio.shield(finished)
        finally:
            with self._condition:
                self._stopping = True
                self._unread.clear()
                self._condition.notify()
            # Python would end while the thread is inside torch, which takes that for a crash.
            await asyncio.wait([thread_left], timeout=LEAVE_SECONDS)

    def _work(
        self,
        loop: asyncio.AbstractEventLoop,
        ready: Callable[[Engine], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        with torch.inference_mode():  # thread-local: it has to be entered here
            engine = self._load()
            _call_soon(loop, functools.partial(ready, engine))
            while requests := self._wait():
                _embed(loop, engine, requests, fail)

    def _wait(self) -> list[_Request]:
        """The newest window of each source that has one; empty when the thread is to stop."""
        with self._condition:
            while not (self._unread or self._stopping):
                self._last_beat = time.monotonic()
                self._condition.wait(_IDLE_SECONDS)
            self._last_beat = time.monotonic()
            requests = [] if self._stopping else list(self._unread.values())
            self._unread.clear()
            return requests


def _embed(
    loop: asyncio.AbstractEventLoop,
    engine: Engine,
    requests: list[_Request],
    fail: Callable[[BaseException], None],
) -> None:
    started = time.perf_counter()
    found = engine.embed([request.samples for request in requests], [request.position for request in requests])
    inference_ms = (time.perf_counter() - started) * 1e3

    def deliver() -> None:
        for row, request in enumerate(requests):
            segments = None if found.segments is None else found.segments[row]
            try:
                request.deliver(EmbeddedWindow(found.windows[row], segments, inference_ms))
            except Exception as error:  # the event loop would only log it, and the daemon run on without events
                fail(error)

    _call_soon(loop, deliver)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop closed during the batch: no one waits for the result
        _logger.debug("the event loop is closed; a result is dropped")


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
