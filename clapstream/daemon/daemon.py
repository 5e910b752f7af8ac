"""The daemon: wires sources, model and sinks together, and brings them up and down in the right order.

Sinks live outside the pipelines, so that on the way down the microphones close first, the events that were going on
end and are published, "offline" is published, and only then the connections close. The model's thread finishes its
last batch meanwhile: nobody waits for it but the end of the process.

Labels are embedded on a thread of their own, at the start and at every reload, so that windows never wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clapstream.audio.block import RATE_HZ
from clapstream.audio.source import Source
from clapstream.clap.hub import CheckpointError
from clapstream.config import ConfigError, Settings
from clapstream.control import Command, SetListening
from clapstream.daemon.label_preparation import LabelPreparation, ListenedBySource, PrepareLabels
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.daemon.running_sinks import RunningSinks, Sink
from clapstream.daemon.signals import Signals
from clapstream.daemon.sources import RunningSources, Switches
from clapstream.detection.detector import DetectorRule
from clapstream.detection.rules import gate_rule, label_infos
from clapstream.inference.engine import Engine
from clapstream.inference.worker import ModelWorker
from clapstream.process.memory import trim_periodically
from clapstream.process.systemd import SystemdNotifier
from clapstream.process.terminal import Terminal
from clapstream.updates import SourceLabels

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Input:
    """A source, whether it is live (see `SourcePipeline`), and whether it listens from the start."""

    source: Source
    live: bool
    listening: bool = True


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
        service_manager: SystemdNotifier | None = None,
        switches: Switches | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        self._settings = settings
        self._sinks = RunningSinks()
        self._labels = LabelPreparation(prepare_labels)
        self._reload_settings = reload_settings
        self._on_ready = on_ready
        self._service_manager = service_manager or SystemdNotifier()
        self._worker = ModelWorker(load_engine)
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
                publish=self._sinks.offer,
                listening=each.listening,
            )
            for each in inputs
        ]
        self._pipelines = {pipeline.info.slug: pipeline for pipeline in pipelines}
        self._sources = RunningSources(self._pipelines, switches=switches, publish=self._sinks.offer)

    def add_sink(self, sink: Sink) -> None:
        """Offer updates to one more sink; before `run`."""
        self._sinks.add(sink)

    def handle(self, command: Command) -> None:
        """Carry out a command from outside; one for an unknown source is ignored."""
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
        for pipeline in self._pipelines.values():
            self._sinks.offer(SourceLabels(pipeline.info, label_infos(self._settings.labels_of(pipeline.info))))
        self._sources.announce()
        with self._signals.handled():
            async with asyncio.TaskGroup() as tasks:
                engine: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
                worker = tasks.create_task(self._worker.run(engine.set_result), name="worker")
                ready = tasks.create_task(self._get_ready(engine), name="start")
                stopped = tasks.create_task(self._signals.stop_requested.wait(), name="stop")
                services = [
                    tasks.create_task(self._signals.watch_terminal(), name="terminal"),
                    tasks.create_task(self._sources.save_changes(), name="switches"),
                ]
                async with self._sinks.running():
                    either: set[asyncio.Future[Any]] = {ready, stopped}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if ready.done():
                        await self._listen(stopped)
                    self._service_manager.stopping()
                    await self._sources.changes_saved()
                    for task in [worker, ready, stopped, *services]:
                        task.cancel()
        _logger.info("stopped")

    async def _get_ready(self, engine: asyncio.Future[Engine]) -> None:
        """Embed the labels while the engine loads on its thread."""
        labels = await self._prepare_labels(self._settings)
        loaded = await asyncio.shield(engine)  # at a shutdown meanwhile, the worker still sets it
        for pipeline in self._pipelines.values():
            pipeline.use_labels(labels[pipeline.info])
        if self._on_ready is not None:
            self._on_ready(loaded)

    async def _prepare_labels(self, settings: Settings) -> ListenedBySource:
        return await self._labels.of_sources(settings, [each.info for each in self._pipelines.values()])

    async def _listen(self, stopped: asyncio.Task[bool]) -> None:
        async with asyncio.TaskGroup() as tasks:
            services = [
                tasks.create_task(self._reload_on_request(), name="reload"),
                tasks.create_task(self._feed_watchdog(), name="watchdog"),
                tasks.create_task(trim_periodically(), name="memory"),
            ]
            pipelines = tasks.create_task(self._sources.run(), name="pipelines")
            on = ", ".join(name for name, pipeline in self._pipelines.items() if pipeline.listening)
            status = f"listening to {on or 'nothing: every source is switched off'}"
            _logger.info(status)
            self._service_manager.ready(status)
            await asyncio.wait({pipelines, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in [pipelines, *services]:
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
        if changed := self._settings.restart_needed_for(settings):
            _logger.warning(
                "reload: labels and thresholds change now; what changed in %s needs a restart", ", ".join(changed)
            )
        labels = await self._prepare_labels(settings)
        for pipeline in self._pipelines.values():
            pipeline.use_labels(labels[pipeline.info])
            self._sinks.offer(SourceLabels(pipeline.info, labels[pipeline.info].infos))
        self._settings = self._settings.with_labels_of(settings)
        listened = {info.slug for each in labels.values() for info in each.infos}
        _logger.info("reloaded: listening for %d labels", len(listened))

    async def _feed_watchdog(self) -> None:
        """Feed systemd's watchdog while the model thread makes progress, so that a hung device causes a restart."""
        limit_seconds = self._service_manager.watchdog_seconds
        while limit_seconds is not None:
            if self._worker.seconds_since_beat < limit_seconds:
                self._service_manager.alive()
            await asyncio.sleep(limit_seconds / 3)
