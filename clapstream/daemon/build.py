"""Puts the parts of the daemon together as the settings say."""

from __future__ import annotations

import asyncio
import functools
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from clapstream import __version__
from clapstream.audio.live_pcm import LivePcm
from clapstream.audio.microphone import Microphone
from clapstream.audio.pcm import Pcm
from clapstream.audio.recording import Recording
from clapstream.audio.source import SourceError
from clapstream.audio.stream import Stream
from clapstream.clap.hub import CheckpointError
from clapstream.config import (
    MicrophoneSettings,
    PcmSettings,
    RecordingSettings,
    Settings,
    SourceSettings,
    StreamSettings,
)
from clapstream.control import Command
from clapstream.daemon.daemon import Daemon, Input
from clapstream.daemon.listening_switches import ListeningSwitches
from clapstream.inference.precision import DeviceError, choose_device
from clapstream.inference.torch_engine import Detector
from clapstream.inference.worker import WindowDetector
from clapstream.process.memory import set_apart_what_stays
from clapstream.process.shutdown import STOPPED, before_leaving, leave_in_time, leave_soon_at_a_signal
from clapstream.process.terminal import Terminal
from clapstream.sinks.log import JournalSink
from clapstream.sinks.mqtt.node_state import StateInUseError, open_node_state
from clapstream.sinks.mqtt.sink import MqttSink
from clapstream.updates import SourceInfo

if TYPE_CHECKING:
    from clapstream.sinks.dashboard.sink import DashboardSink

_logger = logging.getLogger(__name__)

FAILURE = 1
"""The exit code after a crash, so that a service manager starts the daemon again."""

EXPECTED = (SourceError, CheckpointError, DeviceError, StateInUseError)
"""What ends a command with a message instead of a traceback: the user can mend it."""


def listen(
    settings: Settings,
    *,
    dashboard: bool,
    reload_settings: Callable[[], Settings] | None = None,
    terminal: Terminal | None = None,
) -> None:
    """Run the daemon until a signal, the end of its terminal or the end of every source.

    Raises one of `EXPECTED` for what the user can mend.
    """
    try:
        asyncio.run(_listen(settings, dashboard, reload_settings, terminal))
    except BaseExceptionGroup as group:
        raise _cause(group) from None


def make_input(settings: SourceSettings) -> Input:
    """The source that the settings describe. Pipes and fast recordings wait for the model, what is live cannot."""
    match settings:
        case MicrophoneSettings():
            return Input(Microphone(settings.name, settings.device, settings.channel), live=True)
        case StreamSettings():
            stream = Stream(settings.name, settings.read_url, settings.channel, settings.transport)
            return Input(stream, live=True)
        case PcmSettings():
            pipe = LivePcm if settings.live else Pcm
            source = pipe(settings.name, settings.rate_hz, settings.channels, settings.channel)
            return Input(source, live=settings.live)
        case RecordingSettings():
            recording = Recording(settings.name, settings.path, settings.pace, settings.loop, settings.channel)
            return Input(recording, live=settings.pace == "realtime")


async def _listen(
    settings: Settings,
    dashboard: bool,
    reload_settings: Callable[[], Settings] | None,
    terminal: Terminal | None,
) -> None:
    choose_device(settings.model.device)  # a device that is not there is said before anything opens
    names = [source.name for source in settings.sources]
    if settings.mqtt is not None:  # another daemon of this node is said before anything opens
        state = open_node_state(settings.state_directory, settings.node_slug, names)
    initial = {source.slug: source.listening for source in settings.sources}
    switches = ListeningSwitches(settings.state_directory, settings.node_slug, initial)
    listening = switches.load()
    view = _dashboard(settings, names) if dashboard else None
    daemon = Daemon(
        settings,
        inputs=[replace(make_input(each), listening=listening[each.slug]) for each in settings.sources],
        load_detector=functools.partial(_load_detector, settings),
        reload_settings=reload_settings,
        on_ready=functools.partial(_tell_ready, view),
        on_stop=_leave_soon,
        switches=switches,
        terminal=terminal,
    )
    if view is not None:
        view.on_lost = daemon.terminal_lost
        before_leaving.append(view.restore_terminal)
    daemon.add_sink(JournalSink() if view is None else view)
    if settings.mqtt is not None:
        sink = MqttSink(
            settings.mqtt,
            node=settings.node,
            sources=[SourceInfo.of(name) for name in names],
            model=settings.model.checkpoint,
            version=__version__,
            state=state,
            on_command=functools.partial(_handle, daemon),
            on_state=None if view is None else view.set_broker_state,
            on_delivery=None if view is None else view.set_delivery,
        )
        daemon.add_sink(sink)
    try:
        await daemon.run()
    except BaseExceptionGroup as group:
        # What hangs may be what the crash was about, or a thread that the event loop waits for as it closes.
        leave_in_time(FAILURE, "".join(traceback.format_exception_only(_cause(group))).rstrip())
        raise


def _handle(daemon: Daemon, command: Command) -> None:
    daemon.set_listening(command.source, command.listening)


def _load_detector(settings: Settings) -> Detector:
    detector = Detector(settings.model, settings.labels, settings.cache_directory)
    detector.warm_up(len(settings.sources))
    return detector


def _leave_soon() -> None:
    """After the first signal: a second one ends the process soon, and it ends in time without one."""
    leave_soon_at_a_signal()
    leave_in_time(STOPPED)


def _dashboard(settings: Settings, names: Sequence[str]) -> DashboardSink:
    from clapstream.sinks.dashboard.sink import DashboardSink

    return DashboardSink(
        model=settings.model.checkpoint,
        device=f"{settings.model.device}, loading",
        node=settings.node,
        sources=[SourceInfo.of(name) for name in names],
        broker=None if settings.mqtt is None else settings.mqtt.address,
    )


def _tell_ready(view: DashboardSink | None, detector: WindowDetector) -> None:
    assert isinstance(detector, Detector)
    runs_on = f"{detector.device} {str(detector.precision).removeprefix('torch.')}"
    _logger.info("checkpoint %s on %s", detector.checkpoint, runs_on)
    set_apart_what_stays()
    if view is not None:
        view.set_device(runs_on)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that is reported; what else failed is most often its consequence."""
    return next(_leaves(group))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
