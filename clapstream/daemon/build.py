"""Builds the parts of the daemon from the settings and runs it."""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clapstream import __version__
from clapstream.audio.files.recording import Recording
from clapstream.audio.microphone.microphone import Microphone
from clapstream.audio.pcm.live_pcm import LivePcm
from clapstream.audio.pcm.pcm import Pcm
from clapstream.audio.pcm.pcm_input import PcmInput
from clapstream.audio.source import SourceError
from clapstream.audio.stream.stream import Stream
from clapstream.clap.hub import CheckpointError
from clapstream.config import (
    LabelSet,
    MicrophoneSettings,
    MqttSettings,
    PcmSettings,
    RecordingSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from clapstream.daemon.daemon import Daemon, Input
from clapstream.daemon.listening_switches import ListeningSwitches
from clapstream.detection.detector import ListenedLabels
from clapstream.inference.engine import Engine
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.precision import DeviceError, choose_device
from clapstream.inference.torch_engine import TorchEngine
from clapstream.process.exit_codes import FAILURE, OK
from clapstream.process.memory import freeze_startup_objects
from clapstream.process.shutdown import before_exit, exit_after_timeout, exit_on_second_signal
from clapstream.process.terminal import Terminal
from clapstream.sinks.log import LogSink
from clapstream.sinks.mqtt.node_state import NodeState, StateInUseError, open_node_state
from clapstream.sinks.mqtt.sink import MqttSink
from clapstream.updates import SourceInfo

if TYPE_CHECKING:
    from clapstream.sinks.dashboard.sink import DashboardSink

_logger = logging.getLogger(__name__)

EXPECTED = (SourceError, CheckpointError, DeviceError, StateInUseError)
"""Errors that the user can fix: they end a command with a message instead of a traceback."""


def listen(
    settings: Settings,
    *,
    dashboard: bool,
    reload_settings: Callable[[], Settings] | None = None,
    terminal: Terminal | None = None,
) -> None:
    """Run the daemon until a signal, the end of its terminal or the end of every source.

    Raises one of `EXPECTED` for what the user can fix.
    """
    try:
        asyncio.run(_listen(settings, dashboard, reload_settings, terminal))
    except BaseExceptionGroup as group:
        raise _cause(group) from None


def make_input(settings: SourceSettings) -> Input:
    """The source that the settings describe. Pipes and fast recordings wait for the model; live sources cannot."""
    match settings:
        case MicrophoneSettings():
            return Input(Microphone(settings.name, settings.device, settings.channel), live=True)
        case StreamSettings():
            stream = Stream(settings.name, settings.read_url, settings.channel, settings.transport)
            return Input(stream, live=True)
        case PcmSettings():
            pipe = PcmInput(settings.name, settings.rate_hz, settings.channels, settings.channel)
            return Input(LivePcm(pipe) if settings.live else Pcm(pipe), live=settings.live)
        case RecordingSettings():
            recording = Recording(settings.name, settings.path, settings.pace, settings.loop, settings.channel)
            return Input(recording, live=settings.pace == "realtime")


async def _listen(
    settings: Settings,
    dashboard: bool,
    reload_settings: Callable[[], Settings] | None,
    terminal: Terminal | None,
) -> None:
    choose_device(settings.model.device)  # a missing device is reported before anything opens
    sources = [SourceInfo(source.name, source.slug) for source in settings.sources]
    if settings.mqtt is not None:  # so is another daemon of this node
        state = open_node_state(settings.state_directory, settings.node_slug, [each.name for each in sources])
    initial = {source.slug: source.listening for source in settings.sources}
    switches = ListeningSwitches(settings.state_directory, settings.node_slug, initial)
    listening = switches.load()
    view = _dashboard(settings, sources) if dashboard else None
    daemon = Daemon(
        settings,
        inputs=[replace(make_input(each), listening=listening[each.slug]) for each in settings.sources],
        load_engine=functools.partial(_load_engine, settings),
        prepare_labels=_label_preparation(settings),
        reload_settings=reload_settings,
        on_ready=functools.partial(_report_ready, view),
        on_stop=_limit_shutdown,
        switches=switches,
        terminal=terminal,
    )
    if view is not None:
        view.on_lost = daemon.terminal_lost
        before_exit.append(view.restore_terminal)
    daemon.add_sink(LogSink() if view is None else view)
    if settings.mqtt is not None:
        daemon.add_sink(_mqtt_sink(settings, settings.mqtt, sources, state, daemon, view))
    try:
        await daemon.run()
    except BaseExceptionGroup as group:
        # The event loop may never close: it waits for threads, and one may hang.
        exit_after_timeout(FAILURE, "".join(traceback.format_exception_only(_cause(group))).rstrip())
        raise


def _load_engine(settings: Settings) -> TorchEngine:
    engine = TorchEngine(settings.model, settings.cache_directory)
    engine.warm_up(len(settings.sources))
    return engine


def _label_preparation(settings: Settings) -> Callable[[LabelSet], ListenedLabels]:
    """Embeds label sets; the checkpoint is opened at the first one, on the thread that embeds them."""
    embedder = functools.cache(lambda: LabelEmbedder(settings.model, settings.cache_directory))
    return lambda label_set: embedder().listened_labels(label_set)


def _limit_shutdown() -> None:
    """After the first signal: a second one ends the process soon, and it ends in time without one."""
    exit_on_second_signal()
    exit_after_timeout(OK)


def _dashboard(settings: Settings, sources: Sequence[SourceInfo]) -> DashboardSink:
    from clapstream.sinks.dashboard.sink import DashboardSink

    return DashboardSink(
        model=settings.model.checkpoint,
        device=f"{settings.model.device}, loading",
        node=settings.node,
        sources=sources,
        broker=None if settings.mqtt is None else settings.mqtt.address,
    )


def _mqtt_sink(
    settings: Settings,
    mqtt: MqttSettings,
    sources: Sequence[SourceInfo],
    state: NodeState,
    daemon: Daemon,
    view: DashboardSink | None,
) -> MqttSink:
    return MqttSink(
        mqtt,
        node=settings.node,
        sources=sources,
        model=settings.model.checkpoint,
        version=__version__,
        state=state,
        on_command=daemon.handle,
        on_state=None if view is None else view.set_broker_state,
        on_delivery=None if view is None else view.set_delivery,
    )


def _report_ready(view: DashboardSink | None, engine: Engine) -> None:
    _logger.info("checkpoint %s on %s", engine.checkpoint, engine.runs_on)
    freeze_startup_objects()
    if view is not None:
        view.set_device(engine.runs_on)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that is reported; further ones are most often its consequence."""
    return next(_leaves(group))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
