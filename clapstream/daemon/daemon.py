"""The daemon: wires sources, model and sinks together, and brings them up and down in the right order.

Sinks live outside the pipelines, so that on the way down the microphones close first, the events that were going on
end and are published, "offline" is published, and only then the connections close. The model's thread finishes its
last batch meanwhile: nobody waits for it but the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clapstream.audio.block import RATE_HZ
from clapstream.clap.hub import CheckpointError
from clapstream.config import ConfigError, GateSettings, LabelSet, Settings
from clapstream.daemon.pipeline import Source, SourcePipeline
from clapstream.daemon.signals import Signals
from clapstream.daemon.sources import RunningSources, Switches
from clapstream.detection.events import EventRule
from clapstream.detection.gate import GateRule
from clapstream.inference.worker import ModelWorker, WindowDetector
from clapstream.process.memory import trim_periodically
from clapstream.process.systemd import SystemdNotifier
from clapstream.process.terminal import Terminal
from clapstream.slugs import slugify
from clapstream.updates import LabelInfo, SourceLabels, Update

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
    """One run of clapstream: `run` returns after a signal or when every source has ended.

    It also ends with its `terminal`; without a controlling one SIGHUP reloads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        inputs: Sequence[Input],
        load_detector: Callable[[], WindowDetector],
        reload_settings: Callable[[], Settings] | None = None,
        on_ready: Callable[[WindowDetector], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        service_manager: SystemdNotifier | None = None,
        switches: Switches | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        self._settings = settings
        self._sinks: list[Sink] = []
        self._reload_settings = reload_settings
        self._on_ready = on_ready
        self._service_manager = service_manager or SystemdNotifier()
        self._worker = ModelWorker(load_detector)
        self._signals = Signals(terminal, on_stop)
        self._pipelines = {
            slugify(each.source.name): SourcePipeline(
                each.source,
                live=each.live,
                rules=event_rules(settings.labels),
                window_samples=round(settings.window.seconds * RATE_HZ),
                hop_samples=round(settings.window.hop_seconds * RATE_HZ),
                worker=self._worker,
                publish=self.publish,
                listening=each.listening,
                gate=gate_rule(settings.gate),
            )
            for each in inputs
        }
        self._sources = RunningSources(self._pipelines, switches=switches, publish=self.publish)

    def add_sink(self, sink: Sink) -> None:
        """Offer updates to one more sink; before `run`."""
        self._sinks.append(sink)

    def publish(self, update: Update) -> None:
        """Offer an update to every sink."""
        for sink in self._sinks:
            sink.offer(update)

    def set_listening(self, source_slug: str, listening: bool) -> None:
        """The user's switch for one source; an unknown source is ignored."""
        self._sources.set_listening(source_slug, listening)

    def terminal_lost(self) -> None:
        """Writing to the terminal failed."""
        self._signals.terminal_lost()

    async def run(self) -> None:
        """Start, listen, stop. Raises what any part raises that it could not handle itself.

        That is a SourceError when every source has ended or failed and at least one failed.
        """
        self._sources.announce()
        with self._signals.handled():
            async with asyncio.TaskGroup() as tasks:
                ready: asyncio.Future[WindowDetector] = asyncio.get_running_loop().create_future()
                worker = tasks.create_task(self._worker.run(ready.set_result), name="worker")
                stopped = tasks.create_task(self._signals.stop_requested.wait(), name="stop")
                services = [
                    tasks.create_task(self._signals.watch_terminal(), name="terminal"),
                    tasks.create_task(self._sources.save_changes(), name="switches"),
                ]
                async with self._running_sinks():
                    either: set[asyncio.Future[Any]] = {ready, stopped}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if ready.done():
                        if self._on_ready is not None:
                            self._on_ready(ready.result())
                        await self._listen(stopped)
                    self._service_manager.stopping()
                    await self._sources.changes_saved()
                    for task in [worker, stopped, *services]:
                        task.cancel()
        _logger.info("stopped")

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
                await self._relabel(self._reload_settings())
            except (ConfigError, CheckpointError) as error:
                _logger.error("reload failed, still listening with the labels as before: %s", error)

    async def _relabel(self, settings: Settings) -> None:
        changed = [
            name
            for name in type(settings).model_fields
            if name != "labels" and getattr(settings, name) != getattr(self._settings, name)
        ]
        if changed:
            _logger.warning(
                "reload: labels and thresholds change now; what changed in %s needs a restart", ", ".join(changed)
            )
        label_set = settings.labels

        def applied() -> None:
            for pipeline in self._pipelines.values():
                pipeline.replace_rules(event_rules(label_set))
                self.publish(SourceLabels(pipeline.info, pipeline.labels))

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
