"""One source from sound to updates: blocks -> windows -> scores -> events.

The source's stream may break and come back, the worker may skip windows, the user may switch listening off: each
time the events that were going on end, and the counters tell what was given up. A gate lets windows pass unscored
that are certainly nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamLost, StreamOpened
from clapstream.audio.clock import StreamClock
from clapstream.audio.level import level_dbfs
from clapstream.audio.position import StreamPosition
from clapstream.audio.source import SourceError
from clapstream.audio.windower import Window, Windower
from clapstream.detection.band_levels import STRETCH_SAMPLES, band_levels
from clapstream.detection.events import EventRule, EventTracker, Transition
from clapstream.detection.gate import Gate, GateRule
from clapstream.inference.worker import Deliver, ScoredWindow
from clapstream.updates import (
    ENDED,
    STOPPED,
    Event,
    EventEnded,
    EventStarted,
    LabelInfo,
    LabelScore,
    SourceAvailability,
    SourceDiagnostics,
    SourceInfo,
    Update,
    WindowHeard,
)

_logger = logging.getLogger(__name__)

Publish = Callable[[Update], None]

_KEPT_UP_WINDOWS = 4
"""An episode of falling behind is over after this many windows in a row that were not skipped."""


class Source(Protocol):
    """Where sound comes from; the counters run since the daemon started."""

    @property
    def name(self) -> str:
        """The user's name for it."""

    @property
    def dropped_blocks(self) -> int:
        """Blocks lost because nobody took them in time; each loss is a jump of `first_sample`."""

    @property
    def reconnects(self) -> int:
        """How often the stream opened again after it was lost."""

    @property
    def silent(self) -> bool:
        """Whether there was nothing but digital silence for a minute: muted, in all likelihood."""

    def items(self) -> AsyncGenerator[SourceItem, None]:
        """Blocks, and the news that the stream opened or was lost; ends only for finite sources.

        Raises SourceError for what no waiting can mend. `aclose` lets go of the device, file or connection.
        """


class WindowWorker(Protocol):
    """The part of the model worker that a pipeline uses."""

    def offer(self, source: str, samples: NDArray[np.float32], position: StreamPosition, deliver: Deliver) -> bool:
        """Hand over the newest window; True if it replaced an unread one."""

    def withdraw(self, source: str) -> None:
        """Forget the unread window."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Stream:
    """What belongs to one unbroken stream; results that come in for an earlier one are told by it and ignored."""

    windower: Windower
    clock: StreamClock
    gate: Gate | None
    events: dict[str, Event] = field(default_factory=dict)
    unscored: int = 0
    scores: tuple[LabelScore, ...] = ()


class SourcePipeline:
    """Runs one source and publishes what it hears.

    `live` sound cannot be slowed and its arrival tells the time: windows that the model has no time for are skipped
    and counted. A source that is not live waits for the model instead. Without a `gate` every window is scored.
    """

    def __init__(
        self,
        source: Source,
        *,
        live: bool,
        rules: Sequence[EventRule],
        window_samples: int,
        hop_samples: int,
        worker: WindowWorker,
        publish: Publish,
        listening: bool = True,
        gate: GateRule | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._source = source
        self.info = SourceInfo.of(source.name)
        self._live = live
        self._rules = tuple(rules)
        self._tracker = EventTracker(rules)
        self._window_samples = window_samples
        self._hop_samples = hop_samples
        self._worker = worker
        self._publish = publish
        self._gate = gate
        self._now = now
        self._stream: _Stream | None = None
        self._listening = listening
        self._switched = asyncio.Event()
        self._switched_off = False
        self._consumer: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._windows = 0
        self._skipped_windows = 0
        self._gated_windows = 0
        self._kept_up = _KEPT_UP_WINDOWS
        self._inference_ms = 0.0

    @property
    def labels(self) -> tuple[LabelInfo, ...]:
        """What the source listens for."""
        return tuple(rule.label for rule in self._rules)

    @property
    def listening(self) -> bool:
        """How the user's switch stands."""
        return self._listening

    async def run(self) -> None:
        """Listen until cancelled or until a finite source has ended; whatever is going on then ends too.

        Raises the SourceError of a source that can never work, after its availability was published.
        """
        while True:
            await self._until_switched_on()
            self._consumer = asyncio.create_task(self._consume(), name=f"source {self._source.name}")
            try:
                await self._consumer
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
                if not self._switched_off:
                    # Passed on, it would end this source and nobody would notice: a task group ignores it.
                    raise RuntimeError(f"source {self._source.name} was cancelled, but by nobody") from None
                self._switched_off = False  # and perhaps on again, while the source was closing
            else:
                return
            finally:
                self._consumer = None

    def set_listening(self, listening: bool) -> None:
        """The user's switch: off closes the source, on opens it again."""
        if listening == self._listening:
            return
        self._listening = listening
        if listening:
            self._switched.set()
        elif self._consumer is not None and not self._switched_off:
            self._switched_off = True
            self._consumer.cancel()

    def replace_rules(self, rules: Sequence[EventRule]) -> None:
        """Use another label set from the next result on; events of labels that left end now."""
        self._rules = tuple(rules)
        self._publish_transitions(self._tracker.replace_rules(rules))
        if self._stream is not None and self._stream.gate is not None:
            self._stream.gate.distrust()

    async def _until_switched_on(self) -> None:
        while not self._listening:
            self._switched.clear()
            await self._switched.wait()

    async def _consume(self) -> None:
        reason, failed = STOPPED, False
        try:
            try:
                async with contextlib.aclosing(self._source.items()) as items:
                    async for item in items:
                        await self._take(item)
            except SourceError as error:
                reason, failed = str(error).removeprefix(f"source {self._source.name}: "), True
                await self._finish_stream()  # what was heard before a file's broken place counts
                raise
            await self._finish_stream()
            reason = ENDED
        finally:
            self._close_stream()
            if self._listening:
                self._publish(SourceAvailability(self.info, online=False, reason=reason, failed=failed))

    async def _take(self, item: SourceItem) -> None:
        match item:
            case StreamOpened(started):
                self._close_stream()
                windower = Windower(self._window_samples, self._hop_samples)
                gate = Gate(self._gate, self._window_samples, self._hop_samples) if self._gate else None
                self._stream = _Stream(windower, StreamClock(started), gate)
                self._publish(SourceAvailability(self.info, online=True))
            case StreamLost(reason):
                self._close_stream()
                self._publish(SourceAvailability(self.info, online=False, reason=reason))
                self._publish_diagnostics()
            case Block():
                await self._take_block(item)

    async def _take_block(self, block: Block) -> None:
        if self._stream is None:
            raise RuntimeError(f"source {self._source.name} delivered a block before its stream opened")
        if self._live:
            self._stream.clock.arrived(block.end_sample, self._now())
        for window in self._stream.windower.push(block):
            if not self._live:
                await self._until_scored()
            if self._is_nothing(self._stream, window):
                self._let_pass(self._stream, window)
            else:
                self._offer(self._stream, window)

    async def _finish_stream(self) -> None:
        """Hear the last sound of a finite source and wait for its scores."""
        if self._stream is None:
            return
        await self._until_scored()
        last = self._stream.windower.flush()
        if last is not None:
            self._offer(self._stream, last)
            await self._until_scored()

    def _is_nothing(self, stream: _Stream, window: Window) -> bool:
        """Whether the gate takes the window for nothing, and no event and no label needs it all the same."""
        gate = stream.gate
        if gate is None or window.partial or any(rule.always_score for rule in self._rules):
            return False
        levels = band_levels(window.samples[-(gate.span_samples + STRETCH_SAMPLES) :])
        nothing = gate.hear(window.first_sample, window.end_sample, window.newest_hop_first_sample, levels)
        return nothing and self._tracker.idle and not stream.unscored

    def _let_pass(self, stream: _Stream, window: Window) -> None:
        self._gated_windows += 1
        self._tracker.skip(window.first_sample, window.end_sample)
        self._publish_heard(stream, window, gated=True)
        self._publish_diagnostics()

    def _offer(self, stream: _Stream, window: Window) -> None:
        deliver = functools.partial(self._deliver, stream, window)
        position = StreamPosition(stream, window.first_sample)
        if not self._worker.offer(self._source.name, window.samples, position, deliver):
            stream.unscored += 1
            self._kept_up += 1
            if self._kept_up == _KEPT_UP_WINDOWS:
                _logger.info("source %s: the model keeps up again", self._source.name)
            return
        self._skipped_windows += 1
        if self._kept_up >= _KEPT_UP_WINDOWS:
            _logger.warning("source %s: the model cannot keep up; windows are skipped", self._source.name)
        self._kept_up = 0

    async def _until_scored(self) -> None:
        while self._stream is not None and self._stream.unscored:
            self._progress.clear()
            await self._progress.wait()

    def _deliver(self, stream: _Stream, window: Window, scored: ScoredWindow) -> None:
        self._windows += 1
        self._inference_ms = scored.inference_ms
        if stream is not self._stream:
            return
        stream.unscored -= 1
        self._progress.set()
        self._publish_transitions(
            self._tracker.update(window.first_sample, window.end_sample, scored.scores.tolist())
        )
        stream.scores = self._label_scores(scored.scores)
        if stream.gate is not None:
            stream.gate.scored(window.end_sample, _loudest_share(stream.scores))
        self._publish_heard(stream, window, gated=False)
        self._publish_diagnostics()

    def _publish_heard(self, stream: _Stream, window: Window, *, gated: bool) -> None:
        self._publish(
            WindowHeard(
                source=self.info,
                started=stream.clock.utc(window.first_sample),
                ended=stream.clock.utc(window.end_sample),
                partial=window.partial,
                level_dbfs=level_dbfs(window.samples),
                inference_ms=self._inference_ms,
                scores=stream.scores,
                gated=gated,
            )
        )

    def _label_scores(self, scores: NDArray[np.float32]) -> tuple[LabelScore, ...]:
        active = self._tracker.active
        rows = [
            LabelScore(rule.label, float(score), rule.label.slug in active)
            for rule, score in zip(self._rules, scores, strict=True)
        ]
        return tuple(sorted(rows, key=lambda row: -row.score))

    def _publish_transitions(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            stream = self._stream
            assert stream is not None, "events only change while a stream is open"
            if transition.phase == "start":
                event = Event(
                    id=uuid.uuid4().hex,
                    source=self.info,
                    label=transition.label,
                    score=transition.score,
                    peak_score=transition.peak_score,
                    started=stream.clock.utc(transition.start_sample),
                )
                stream.events[transition.label.slug] = event
                self._publish(EventStarted(event))
            else:
                event = stream.events.pop(transition.label.slug)
                self._publish(EventEnded(_ended(event, transition)))

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
        self._worker.withdraw(self._source.name)
        self._publish_transitions(self._tracker.finish())
        self._stream = None
        self._progress.set()


def _loudest_share(scores: Sequence[LabelScore]) -> float:
    """The highest score, as a share of what starts an event of its label."""
    return max((score.score / score.label.start for score in scores), default=0.0)


def _ended(event: Event, transition: Transition) -> Event:
    """The event with its end; the duration is counted in frames, so no clock can make it negative."""
    assert transition.end_sample is not None
    duration_seconds = (transition.end_sample - transition.start_sample) / RATE_HZ
    return replace(
        event,
        peak_score=transition.peak_score,
        ended=event.started + timedelta(seconds=duration_seconds),
        duration_seconds=duration_seconds,
    )
