"""The daemon: wires sources, model and sinks together, and brings them up and down in the right order.

Sinks live outside the pipelines, so that on the way down the microphones close first, the events that were going on
end and are published, "offline" is published, and only then the connections close. The model's thread finishes its
last batch meanwhile: nobody waits for it but the end of the process.

Labels are embedded on a thread of their own, at the start and at every reload, so that windows never wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from clapstream.audio.block import RATE_HZ
from clapstream.audio.source import Source
from clapstream.clap.hub import CheckpointError
from clapstream.config import ConfigError, LabelSet, Settings
from clapstream.control import Command, SetListening
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.daemon.signals import Signals
from clapstream.daemon.sources import RunningSources, Switches
from clapstream.detection.detector import DetectorRule, ListenedLabels
from clapstream.detection.rules import gate_rule, label_infos
from clapstream.inference.engine import Engine
from clapstream.inference.worker import ModelWorker
from clapstream.process.memory import keep_small
from clapstream.process.systemd import ServiceManager
from clapstream.process.terminal import Terminal
from clapstream.updates import SourceLabels, Update

_logger = logging.getLogger(__name__)

GRACE_SECONDS = 3.0
"""How long sinks may take to publish what is left."""


@dataclass(frozen=True, slots=True)
class Input:
    """A source, whether it is live (see `SourcePipeline`), and whether it listens from the start."""

    source: Source
    live: bool
    listening: bool = True


class Sink(Protocol):
    """Where updates go. `offer` never blocks and never raises; `run` lasts until `close` and then flushes."""

    def offer(self, update: Update) -> None:
        """Take one update."""

    async def run(self) -> None:
        """Deliver what is offered; returns once `close` was called and what is pending is out (or given up)."""

    def close(self) -> None:
        """Ask `run` to come to its end."""


ListenedBySource = Mapping[str, ListenedLabels]
"""What each source listens for, by its slug."""

PrepareLabels = Callable[[LabelSet], ListenedLabels]
"""Embeds a label set; may take as long as a text tower does, and runs on a thread of its own."""


class Daemon:
    """One run of clapstream: `run` returns after a signal or when every source has ended.

    It also ends with its `terminal`; without a controlling one SIGHUP reloads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        inputs: Sequence[Input],
        load_engine: Callable[[], Engine],
        prepare_labels: PrepareLabels,
        reload_settings: Callable[[], Settings] | None = None,
        on_ready: Callable[[Engine], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        service_manager: ServiceManager | None = None,
        switches: Switches | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        self._settings = settings
        self._sinks: list[Sink] = []
        self._prepare_labels = prepare_labels
        self._reload_settings = reload_settings
        self._on_ready = on_ready
        self._service_manager = service_manager or ServiceManager()
        self._worker = ModelWorker(load_engine)
        # Not the event loop's executor, whose end it would wait for.
        self._label_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="labels")
        self._signals = Signals(terminal, on_stop)
        rule = DetectorRule(
            round(settings.window.seconds * RATE_HZ),
            round(settings.window.hop_seconds * RATE_HZ),
            gate_rule(settings.gate),
        )
        pipelines = [
            SourcePipeline(
                each.source,
                live=each.live,
                rule=rule,
                worker=self._worker,
                publish=self.publish,
                listening=each.listening,
            )
            for each in inputs
        ]
        self._pipelines = {pipeline.info.slug: pipeline for pipeline in pipelines}
        self._sources = RunningSources(self._pipelines, switches=switches, publish=self.publish)

    def add_sink(self, sink: Sink) -> None:
        """Offer updates to one more sink; before `run`."""
        self._sinks.append(sink)

    def publish(self, update: Update) -> None:
        """Offer an update to every sink."""
        for sink in self._sinks:
            sink.offer(update)

    def handle(self, command: Command) -> None:
        """Do what is asked for from outside; a command for an unknown source is ignored."""
        match command:
            case SetListening(source, listening):
                self._sources.set_listening(source, listening)

    def terminal_lost(self) -> None:
        """Writing to the terminal failed."""
        self._signals.terminal_lost()

    async def run(self) -> None:
        """Start, listen, stop. Raises what any part raises that it could not handle itself.

        That is a SourceError when every source has ended or failed and at least one failed.
        """
        for slug, pipeline in self._pipelines.items():
            self.publish(SourceLabels(pipeline.info, label_infos(self._settings.labels_of(slug))))
        self._sources.announce()
        with self._signals.handled():
            async with asyncio.TaskGroup() as tasks:
                engine: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
                worker = tasks.create_task(self._worker.run(engine.set_result), name="worker")
                labels = tasks.create_task(self._prepare(self._settings), name="labels")
                stopped = tasks.create_task(self._signals.stop_requested.wait(), name="stop")
                services = [
                    tasks.create_task(self._signals.watch_terminal(), name="terminal"),
                    tasks.create_task(self._sources.save_changes(), name="switches"),
                ]
                async with self._running_sinks():
                    ready: asyncio.Future[tuple[Engine, ListenedBySource]] = asyncio.gather(engine, labels)
                    either: set[asyncio.Future[Any]] = {ready, stopped}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if ready.done():
                        self._get_ready(*ready.result())
                        await self._listen(stopped)
                    self._service_manager.stopping()
                    await self._sources.changes_saved()
                    for task in [worker, labels, stopped, *services]:
                        task.cancel()
        _logger.info("stopped")

    def _get_ready(self, engine: Engine, labels: ListenedBySource) -> None:
        for slug, pipeline in self._pipelines.items():
            pipeline.use_labels(labels[slug])
        if self._on_ready is not None:
            self._on_ready(engine)

    async def _prepare(self, settings: Settings) -> ListenedBySource:
        """Embed what each source listens for; sources with the same label set share it."""
        loop = asyncio.get_running_loop()
        prepared: list[tuple[LabelSet, ListenedLabels]] = []
        found = {}
        for slug in self._pipelines:
            label_set = settings.labels_of(slug)
            known = next((labels for each, labels in prepared if each == label_set), None)
            if known is None:
                known = await loop.run_in_executor(self._label_thread, self._prepare_labels, label_set)
                prepared.append((label_set, known))
            found[slug] = known
        return found

    async def _listen(self, stopped: asyncio.Task[bool]) -> None:
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(self._reload_on_request(), name="reload"),
                tasks.create_task(self._feed_watchdog(), name="watchdog"),
                tasks.create_task(keep_small(), name="memory"),
            ]
            pipelines = tasks.create_task(self._sources.run(), name="pipelines")
            on = ", ".join(name for name, pipeline in self._pipelines.items() if pipeline.listening)
            status = f"listening to {on or 'nothing: every source is switched off'}"
            _logger.info(status)
            self._service_manager.ready(status)
            await asyncio.wait({pipelines, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in [pipelines, *services]:
                task.cancel()

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

    async def _reload_on_request(self) -> None:
        while True:
            await self._signals.reload_requested.wait()
            self._signals.reload_requested.clear()
            if self._reload_settings is None:
                continue
            try:
                await self._reload(self._reload_settings())
            except (ConfigError, CheckpointError) as error:
                _logger.error("reload failed, still listening for the labels as before: %s", error)

    async def _reload(self, settings: Settings) -> None:
        if changed := _needs_restart(self._settings, settings):
            _logger.warning(
                "reload: labels and thresholds change now; what changed in %s needs a restart", ", ".join(changed)
            )
        prepared = await self._prepare(settings)
        for slug, pipeline in self._pipelines.items():
            pipeline.use_labels(prepared[slug])
            self.publish(SourceLabels(pipeline.info, prepared[slug].infos))
        self._settings = self._settings.model_copy(update={"labels": settings.labels})
        _logger.info("reloaded: %d labels", len(settings.labels.labels))

    async def _feed_watchdog(self) -> None:
        """Feed systemd's watchdog while the model's thread comes round, so that a hung device is restarted."""
        limit_seconds = self._service_manager.watchdog_seconds
        while limit_seconds is not None:
            if self._worker.seconds_since_beat < limit_seconds:
                self._service_manager.alive()
            await asyncio.sleep(limit_seconds / 3)


def _needs_restart(before: Settings, after: Settings) -> list[str]:
    """The keys that changed and that a reload does not apply."""
    names = [name for name in type(after).model_fields if name != "labels"]
    return [name for name in names if getattr(after, name) != getattr(before, name)]
