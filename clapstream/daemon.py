"""The daemon: wires sources, model and sinks together, and brings them up and down in the right order.

Sinks live outside the pipelines, so that on the way down the microphones close first, the events that were going on
end and are published, "offline" is published, and only then the connections close. The model's thread finishes its
last batch meanwhile: nobody waits for it but the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clapstream.audio.block import RATE_HZ
from clapstream.clap.hub import CheckpointError
from clapstream.config import ConfigError, GateSettings, LabelSet, Settings
from clapstream.detection.events import EventRule
from clapstream.detection.gate import GateRule
from clapstream.memory import keep_small
from clapstream.pipeline import Source, SourcePipeline
from clapstream.service_manager import ServiceManager
from clapstream.slugs import slugify
from clapstream.updates import LabelInfo, LabelsChanged, Update
from clapstream.worker import ModelWorker, WindowDetector

_logger = logging.getLogger(__name__)

GRACE_SECONDS = 3.0
"""How long sinks may take to publish their last words."""


@dataclass(frozen=True, slots=True)
class Input:
    """A source, and whether it is live (see `SourcePipeline`)."""

    source: Source
    live: bool


class Sink(Protocol):
    """Where updates go. `offer` never blocks and never raises; `run` lasts until `close` and then flushes."""

    def offer(self, update: Update) -> None:
        """Take one update."""

    async def run(self) -> None:
        """Deliver what is offered; returns once `close` was called and what is pending is out (or given up)."""

    def close(self) -> None:
        """Ask `run` to come to its end."""


def label_infos(label_set: LabelSet) -> tuple[LabelInfo, ...]:
    """The labels as sinks see them."""
    return tuple(LabelInfo(label.name, label.slug, label.start, label.stop) for label in label_set.labels)


def event_rules(label_set: LabelSet) -> tuple[EventRule, ...]:
    """When events of each label start and stop, in frames."""
    return tuple(
        EventRule(info, label.confirm_windows, round(label.hold_seconds * RATE_HZ), label.always_score)
        for info, label in zip(label_infos(label_set), label_set.labels, strict=True)
    )


def gate_rule(gate: GateSettings) -> GateRule | None:
    """How sure the gate has to be, None if it is off."""
    return GateRule(gate.margin_db, round(gate.check_seconds * RATE_HZ)) if gate.enabled else None


class Daemon:
    """One run of clapstream: `run` returns after a signal or when every source has ended."""

    def __init__(
        self,
        settings: Settings,
        *,
        inputs: Sequence[Input],
        load_detector: Callable[[], WindowDetector],
        reload_settings: Callable[[], Settings] | None = None,
        on_ready: Callable[[WindowDetector], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        service_manager: ServiceManager | None = None,
    ) -> None:
        self._settings = settings
        self._sinks: list[Sink] = []
        self._reload_settings = reload_settings
        self._on_ready = on_ready
        self._on_stop = on_stop
        self._service_manager = service_manager or ServiceManager()
        self._worker = ModelWorker(load_detector)
        self._pipelines = {
            slugify(each.source.name): SourcePipeline(
                each.source,
                live=each.live,
                rules=event_rules(settings.labels),
                window_frames=round(settings.window.seconds * RATE_HZ),
                hop_frames=round(settings.window.hop_seconds * RATE_HZ),
                worker=self._worker,
                publish=self.publish,
                gate=gate_rule(settings.gate),
            )
            for each in inputs
        }
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()

    def add_sink(self, sink: Sink) -> None:
        """Offer updates to one more sink; before `run`."""
        self._sinks.append(sink)

    def publish(self, update: Update) -> None:
        """Offer an update to every sink."""
        for sink in self._sinks:
            sink.offer(update)

    def set_listening(self, source_slug: str, listening: bool) -> None:
        """The user's switch for one source; an unknown source is ignored."""
        pipeline = self._pipelines.get(source_slug)
        if pipeline is not None:
            pipeline.set_listening(listening)

    async def run(self) -> None:
        """Start, listen, stop. Raises what any part raises that it could not handle itself."""
        with self._signals():
            async with asyncio.TaskGroup() as tasks:
                ready: asyncio.Future[WindowDetector] = asyncio.get_running_loop().create_future()
                worker = tasks.create_task(self._worker.run(ready.set_result), name="worker")
                stopped = tasks.create_task(self._stop.wait(), name="stop")
                async with self._running_sinks():
                    either: set[asyncio.Future[Any]] = {ready, stopped}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if ready.done():
                        if self._on_ready is not None:
                            self._on_ready(ready.result())
                        await self._listen(stopped)
                    self._service_manager.stopping()
                    worker.cancel()
                    stopped.cancel()
        _logger.info("stopped")

    async def _listen(self, stopped: asyncio.Task[bool]) -> None:
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(self._reload_on_request(), name="reload"),
                tasks.create_task(self._feed_watchdog(), name="watchdog"),
                tasks.create_task(keep_small(), name="memory"),
            ]
            pipelines = tasks.create_task(self._run_pipelines(), name="pipelines")
            names = ", ".join(self._pipelines)
            _logger.info("listening to %s", names)
            self._service_manager.ready(f"listening to {names}")
            await asyncio.wait({pipelines, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in [pipelines, *services]:
                task.cancel()

    async def _run_pipelines(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for slug, pipeline in self._pipelines.items():
                tasks.create_task(pipeline.run(), name=f"pipeline {slug}")

    @contextlib.asynccontextmanager
    async def _running_sinks(self) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(sink.run(), name=type(sink).__name__) for sink in self._sinks]
            try:
                yield
            finally:
                for sink in self._sinks:
                    sink.close()
                if running:
                    await asyncio.wait(running, timeout=GRACE_SECONDS)
                for task in running:
                    task.cancel()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the daemon (a second one kills, unless `on_stop` sees to it), SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        stopping = (signal.SIGTERM, signal.SIGINT)

        def stop(number: signal.Signals) -> None:
            for each in stopping:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)
            self._stop.set()
            if self._on_stop is not None:
                self._on_stop()
            _logger.info("%s: stopping", number.name)

        for number in stopping:
            loop.add_signal_handler(number, stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        try:
            yield
        finally:
            for number in (*stopping, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _reload_on_request(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            if self._reload_settings is None:
                continue
            try:
                await self._relabel(self._reload_settings())
            except (ConfigError, CheckpointError) as error:
                _logger.error("reload refused, the labels stay as they were: %s", error)

    async def _relabel(self, settings: Settings) -> None:
        if settings.model_copy(update={"labels": self._settings.labels}) != self._settings:
            _logger.warning("reload: only labels and thresholds change while running; the rest needs a restart")
        label_set = settings.labels

        def applied() -> None:
            for pipeline in self._pipelines.values():
                pipeline.replace_rules(event_rules(label_set))
            self.publish(LabelsChanged(label_infos(label_set)))

        await self._worker.relabel(label_set, applied)
        self._settings = self._settings.model_copy(update={"labels": label_set})
        _logger.info("reloaded: %d labels", len(label_set.labels))

    async def _feed_watchdog(self) -> None:
        """Feed systemd's watchdog while the model's thread comes round, so that a hung device is restarted."""
        limit_seconds = self._service_manager.watchdog_seconds
        while limit_seconds is not None:
            if not self._worker.hangs(limit_seconds):
                self._service_manager.alive()
            await asyncio.sleep(limit_seconds / 3)
