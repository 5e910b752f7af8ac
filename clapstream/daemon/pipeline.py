"""One source from sound to updates: blocks -> windows -> embeddings -> events.

The source's stream may break and come back, the worker may skip windows, the user may switch listening off: each
time the events that were going on end, and the counters tell what was lost. Windows that are certainly nothing
pass the gate without being embedded.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.audio.source import Source, SourceError
from clapstream.audio.windower import Window
from clapstream.daemon.open_stream import OpenStream, Publish
from clapstream.daemon.switched_task import SwitchedTask
from clapstream.detection.detector import DetectorRule, ListenedLabels
from clapstream.inference.worker import Deliver, EmbeddedWindow
from clapstream.updates import ENDED, STOPPED, SourceAvailability, SourceDiagnostics, SourceInfo

_logger = logging.getLogger(__name__)

_KEPT_UP_WINDOWS = 4
"""The model keeps up again after this many windows in a row that were not skipped."""


class WindowWorker(Protocol):
    """The part of the model worker that a pipeline uses."""

    def offer(self, source: str, samples: NDArray[np.float32], position: StreamPosition, deliver: Deliver) -> bool:
        """Pass on the newest window; True if it replaced an unread one."""

    def withdraw(self, source: str) -> None:
        """Forget the unread window."""


class SourcePipeline:
    """Runs one source and publishes what is detected.

    `live` sound cannot be slowed and its arrival tells the time: windows that the model has no time for are skipped
    and counted. A source that is not live waits for the model instead. `use_labels` has to come before `run`.
    """

    def __init__(
        self,
        source: Source,
        *,
        live: bool,
        rule: DetectorRule,
        worker: WindowWorker,
        publish: Publish,
        listening: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.info = SourceInfo.of(source.name)
        self._source = source
        self._live = live
        self._rule = rule
        self._worker = worker
        self._publish = publish
        self._now = now
        self._labels: ListenedLabels | None = None
        self._stream: OpenStream | None = None
        self._consumer = SwitchedTask(self._consume, f"source {source.name}", on=listening)
        self._progress = asyncio.Event()
        self._windows = 0
        self._skipped_windows = 0
        self._gated_windows = 0
        self._kept_up = _KEPT_UP_WINDOWS
        self._inference_ms = 0.0

    @property
    def listening(self) -> bool:
        """Whether the user's switch is on."""
        return self._consumer.on

    def use_labels(self, labels: ListenedLabels) -> None:
        """Listen for these labels from the next result on; events of removed labels end now."""
        self._labels = labels
        if self._stream is not None:
            self._stream.replace_labels(labels)

    async def run(self) -> None:
        """Listen until cancelled or until a finite source has ended; its active events end then, too.

        Raises the SourceError of a source that can never work, after its availability was published.
        """
        await self._consumer.run()

    def set_listening(self, listening: bool) -> None:
        """The user's switch: off closes the source, on opens it again."""
        self._consumer.switch(listening)

    async def _consume(self) -> None:
        reason, failed = STOPPED, False
        try:
            try:
                async with contextlib.aclosing(self._source.items()) as items:
                    async for item in items:
                        await self._take(item)
            except SourceError as error:
                reason, failed = str(error).removeprefix(f"source {self.info.name}: "), True
                await self._finish_stream()  # what was heard before a file's damaged part counts
                raise
            await self._finish_stream()
            reason = ENDED
        finally:
            self._close_stream()
            if self.listening:
                self._publish(SourceAvailability(self.info, online=False, reason=reason, failed=failed))

    async def _take(self, item: SourceItem) -> None:
        match item:
            case StreamOpened(started):
                self._close_stream()
                if self._labels is None:
                    raise RuntimeError(f"source {self.info.name} opened before its labels were ready")
                self._stream = OpenStream(self.info, started, self._labels, self._rule, self._publish)
                self._publish(SourceAvailability(self.info, online=True))
            case StreamLost(reason):
                self._close_stream()
                self._publish(SourceAvailability(self.info, online=False, reason=reason))
                self._publish_diagnostics()
            case Block():
                await self._take_block(item)

    async def _take_block(self, block: Block) -> None:
        stream = self._stream
        if stream is None:
            raise RuntimeError(f"source {self.info.name} delivered a block before its stream opened")
        if self._live:
            stream.clock.arrived(block.end_sample, self._now())
        for window in stream.windower.push(block):
            if not self._live:
                await self._until_scored()
            if stream.is_nothing(window):
                self._gated_windows += 1
                stream.skip(window)
                self._publish_diagnostics()
            else:
                self._offer(stream, window)

    async def _finish_stream(self) -> None:
        """Hear the last sound of a finite source and wait for its scores."""
        if self._stream is None:
            return
        await self._until_scored()
        last = self._stream.windower.flush()
        if last is not None:
            self._offer(self._stream, last)
            await self._until_scored()

    def _offer(self, stream: OpenStream, window: Window) -> None:
        deliver = functools.partial(self._deliver, stream, window)
        position = StreamPosition(stream, window.first_sample)
        if not self._worker.offer(self.info.slug, window.samples, position, deliver):
            stream.waiting += 1
            self._kept_up += 1
            if self._kept_up == _KEPT_UP_WINDOWS:
                _logger.info("source %s: the model keeps up again", self.info.name)
            return
        self._skipped_windows += 1
        if self._kept_up >= _KEPT_UP_WINDOWS:
            _logger.warning("source %s: the model cannot keep up; windows are skipped", self.info.name)
        self._kept_up = 0

    def _deliver(self, stream: OpenStream, window: Window, embedded: EmbeddedWindow) -> None:
        """Take a result; one of an earlier stream is only counted."""
        self._windows += 1
        self._inference_ms = embedded.inference_ms
        if stream is not self._stream:
            return
        stream.update(window, embedded)
        self._progress.set()
        self._publish_diagnostics()

    async def _until_scored(self) -> None:
        while self._stream is not None and self._stream.waiting:
            self._progress.clear()
            await self._progress.wait()

    def _publish_diagnostics(self) -> None:
        self._publish(
            SourceDiagnostics(
                source=self.info,
                inference_ms=self._inference_ms,
                windows=self._windows,
                dropped_blocks=self._source.dropped_blocks,
                skipped_windows=self._skipped_windows,
                reconnects=self._source.reconnects,
                silent=self._source.silent,
                gated_windows=self._gated_windows,
            )
        )

    def _close_stream(self) -> None:
        if self._stream is None:
            return
        self._worker.withdraw(self.info.slug)
        self._stream.close()
        self._stream = None
        self._progress.set()
