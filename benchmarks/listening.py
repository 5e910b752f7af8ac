"""Sources listened to with the daemon's own parts: pipelines, event rules, gate and model worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from benchmarks.model import Model
from benchmarks.simulated_sources import SimulatedRecording
from clapstream.audio.block import RATE_HZ
from clapstream.audio.position import StreamPosition
from clapstream.config import Settings
from clapstream.daemon.pipeline import SourcePipeline, WindowWorker
from clapstream.detection.detector import DetectorRule, ListenedLabels
from clapstream.detection.events import EventRule
from clapstream.detection.rules import gate_rule
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.torch_engine import TorchEngine
from clapstream.inference.worker import Deliver, EmbeddedWindow, ModelWorker
from clapstream.updates import EventEnded, SourceDiagnostics, Update

Floats = NDArray[np.float32]


@contextlib.asynccontextmanager
async def listening_live(
    sources: Sequence[SimulatedRecording], settings: Settings, publish: Callable[[Update], None]
) -> AsyncGenerator[None]:
    """Load the model, then listen to live sources with one worker for as long as the block lasts."""
    labels = LabelEmbedder(settings.model, settings.cache_directory).listened_labels(settings.labels)
    worker = ModelWorker(lambda: TorchEngine(settings.model, settings.cache_directory))
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(worker.run(lambda _: ready.set()))]
        await ready.wait()
        for source in sources:
            pipeline = _pipeline(source, settings, worker, publish, live=True, labels=labels)
            running.append(tasks.create_task(pipeline.run()))
        try:
            yield
        finally:
            for task in reversed(running):
                task.cancel()


@dataclass(frozen=True, slots=True)
class Heard:
    """The events of a recording, as label, start and end, and how many windows were scored or left to the gate."""

    events: frozenset[tuple[str, datetime, datetime | None]]
    scored_windows: int
    gated_windows: int


class RememberedEmbeddings:
    """A model worker for one recording that embeds each window once, however often it is listened to."""

    def __init__(self, model: Model) -> None:
        self._engine = model.engine
        self.labels = model.labels
        self._known: dict[int, Floats] = {}

    def offer(self, source: str, samples: Floats, position: StreamPosition, deliver: Deliver) -> bool:
        """Deliver the embedding of the window in the event loop's next turn."""
        end_sample = position.first_sample + len(samples)
        if end_sample not in self._known:
            place = StreamPosition(self, position.first_sample)
            self._known[end_sample] = self._engine.embed([samples], [place]).windows[0]
        asyncio.get_running_loop().call_soon(deliver, EmbeddedWindow(self._known[end_sample], None, 0.0))
        return False

    def withdraw(self, source: str) -> None:
        """Do nothing: no window ever waits."""


def hear_recording(
    samples: Floats, known: RememberedEmbeddings, settings: Settings, *, threshold_share: float, gated: bool
) -> Heard:
    """Listen to mono 48 kHz samples `(samples,)` with a share of the labels' thresholds, with or without gate."""
    updates: list[Update] = []
    rules = tuple(_scaled(rule, threshold_share) for rule in known.labels.rules)
    labels = replace(known.labels, rules=rules)
    settings = settings.model_copy(update={"gate": settings.gate.model_copy(update={"enabled": gated})})
    recording = SimulatedRecording("recording", samples)
    pipeline = _pipeline(recording, settings, known, updates.append, live=False, labels=labels)
    asyncio.run(pipeline.run())
    ended = [update.event for update in updates if isinstance(update, EventEnded)]
    counters = [update for update in updates if isinstance(update, SourceDiagnostics)][-1]
    events = frozenset((event.label.slug, event.started, event.ended) for event in ended)
    return Heard(events, counters.windows, counters.gated_windows)


def _pipeline(
    source: SimulatedRecording,
    settings: Settings,
    worker: WindowWorker,
    publish: Callable[[Update], None],
    *,
    live: bool,
    labels: ListenedLabels,
) -> SourcePipeline:
    rule = DetectorRule(
        round(settings.window.seconds * RATE_HZ),
        round(settings.window.hop_seconds * RATE_HZ),
        gate_rule(settings.gate),
    )
    pipeline = SourcePipeline(source, live=live, rule=rule, worker=worker, publish=publish)
    pipeline.use_labels(labels)
    return pipeline


def _scaled(rule: EventRule, share: float) -> EventRule:
    return replace(rule, label=replace(rule.label, start=rule.label.start * share, stop=rule.label.stop * share))
