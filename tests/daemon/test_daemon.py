"""Starting, stopping, reloading and failing: the daemon around a source, a model and a sink that the test plays."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.scoring import same_score
from support.sources import HALL

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.clap.hub import CheckpointError
from clapstream.config import ConfigError, LabelSet, LabelSettings, Problem, Settings, WindowSettings, load_settings
from clapstream.control import SetListening
from clapstream.daemon.daemon import Daemon, Input
from clapstream.detection.detector import ListenedLabels
from clapstream.inference.engine import Embeddings
from clapstream.process.systemd import SystemdNotifier
from clapstream.updates import (
    EventEnded,
    EventStarted,
    SourceAvailability,
    SourceDiagnostics,
    SourceLabels,
    SourceListening,
    Update,
    WindowHeard,
)

Floats = NDArray[np.float32]
HOP = RATE_HZ // 10


class ToneSource:
    """Delivers loud sound for ever, or `seconds` of it, with a pause after each tenth of a second."""

    def __init__(self, seconds: float = float("inf"), pause_seconds: float = 0.005) -> None:
        self.name = "hall"
        self.dropped_blocks = 0
        self.reconnects = 0
        self.silent = False
        self.closed = False
        self._samples = seconds * RATE_HZ
        self._pause_seconds = pause_seconds

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        try:
            yield StreamOpened(datetime.now(UTC))
            position = 0
            while position < self._samples:
                yield Block(position, np.full(HOP, 0.5, dtype=np.float32))
                position += HOP
                await asyncio.sleep(self._pause_seconds)
        finally:
            self.closed = True


class LoudEngine:
    """Makes the same embedding of every window."""

    checkpoint = "test"
    runs_on = "nothing"
    segment_spans = ()

    def embed(self, windows: Sequence[Floats], positions: Sequence[StreamPosition] | None = None) -> Embeddings:
        return Embeddings(np.full((len(windows), 1), 0.9, dtype=np.float32))


class RecordingSink:
    """Keeps what it is offered, and when it was closed."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self._closed = asyncio.Event()

    def offer(self, update: Update) -> None:
        assert not self._closed.is_set(), f"{update} after close"
        self.updates.append(update)

    async def run(self) -> None:
        await self._closed.wait()

    def close(self) -> None:
        self._closed.set()

    def of(self, kind: type[Update]) -> list[Update]:
        return [update for update in self.updates if isinstance(update, kind)]


def settings_with(*names: str) -> Settings:
    labels = LabelSet(labels=tuple(LabelSettings(name=name) for name in names), background=("a quiet room",))
    window = WindowSettings(seconds=0.5, hop_seconds=0.1)
    return load_settings(None).model_copy(update={"labels": labels, "mqtt": None, "window": window})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def run(
    body: Callable[[Daemon, RecordingSink], Awaitable[None]] | None,
    source: ToneSource,
    *,
    settings: Settings | None = None,
    load: Callable[[], LoudEngine] = LoudEngine,
    prepare_labels: Callable[[LabelSet], ListenedLabels] = same_score,
    reload_settings: Callable[[], Settings] | None = None,
    service_manager: SystemdNotifier | None = None,
) -> RecordingSink:
    settings = settings or settings_with("dog", "bell")
    sinks: list[RecordingSink] = []

    async def main() -> None:
        sinks.append(RecordingSink())
        daemon = Daemon(
            settings,
            inputs=[Input(source, live=True)],
            load_engine=load,
            prepare_labels=prepare_labels,
            reload_settings=reload_settings,
            service_manager=service_manager or SystemdNotifier({}),
        )
        daemon.add_sink(sinks[0])
        running = asyncio.create_task(daemon.run())
        if body is not None:
            await body(daemon, sinks[0])
        await asyncio.wait_for(running, 20)

    asyncio.run(main())
    return sinks[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_event_closes_the_source_and_returns(number: signal.Signals) -> None:
    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), number)

    source = ToneSource()
    sink = run(body, source)
    assert source.closed
    assert len(sink.of(EventEnded)) == 2
    assert sink.updates[-1] == SourceAvailability(HALL, online=False, reason="stopped")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_daemon_is_done_when_every_source_has_ended() -> None:
    sink = run(None, ToneSource(seconds=1.0))
    assert len(sink.of(EventStarted)) == len(sink.of(EventEnded)) == 2
    assert sink.updates[-1] == SourceAvailability(HALL, online=False, reason="ended")


def test_a_signal_while_the_model_loads_stops_at_once() -> None:
    release = threading.Event()

    def load() -> LoudEngine:
        release.wait(20)
        return LoudEngine()

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        sink = run(body, ToneSource(), load=load)
    finally:
        release.set()
    assert sink.updates[1:] == [SourceListening(HALL, True)], "no source was opened"


def test_an_engine_that_loads_during_the_shutdown_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    stopping = threading.Event()

    def load() -> LoudEngine:
        stopping.wait(20)
        return LoudEngine()

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: "stopping" in caplog.text)
        asyncio.get_running_loop().call_later(0.2, stopping.set)

    caplog.set_level(logging.INFO)
    run(body, ToneSource(), load=load)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_checkpoint_that_cannot_be_loaded_ends_the_run() -> None:
    def load() -> LoudEngine:
        raise CheckpointError("model.safetensors: damaged")

    with pytest.raises(ExceptionGroup) as caught:
        run(None, ToneSource(), load=load)
    assert caught.group_contains(CheckpointError, match="damaged")


def test_reload_changes_the_labels_without_losing_the_stream() -> None:
    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(sink.of(EventStarted)) == 3)
        os.kill(os.getpid(), signal.SIGTERM)

    sink = run(body, ToneSource(), reload_settings=lambda: settings_with("dog", "cat"))
    _, changed = sink.of(SourceLabels)
    assert isinstance(changed, SourceLabels)
    assert [label.slug for label in changed.labels] == ["dog", "cat"]
    before = sink.updates[: sink.updates.index(changed)]
    ended_before = [update.event.label.slug for update in before if isinstance(update, EventEnded)]
    assert ended_before == ["bell"]
    availability = [update.online for update in sink.updates if isinstance(update, SourceAvailability)]
    assert availability == [True, False], "the stream went on"
    assert len(sink.of(EventEnded)) == 3


def test_a_bad_new_label_file_keeps_the_old_one_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> Settings:
        raise ConfigError([Problem("labels.yaml", "labels[0].start", "must be a number")])

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "labels[0].start: must be a number" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    with caplog.at_level(logging.ERROR, "clapstream.daemon.daemon"):
        sink = run(body, ToneSource(), reload_settings=refuse)
    assert len(sink.of(SourceLabels)) == 1


def test_a_reload_names_what_needs_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    def changed() -> Settings:
        return settings_with("dog").model_copy(update={"node": "cabin", "sources": ()})

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(sink.of(SourceLabels)) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    run(body, ToneSource(), reload_settings=changed)
    assert "what changed in node, sources needs a restart" in caplog.text


def test_systemd_gets_ready_watchdog_and_stopping(tmp_path: Path) -> None:
    import socket

    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.setblocking(False)

        async def body(daemon: Daemon, sink: RecordingSink) -> None:
            await until(lambda: len(sink.of(EventStarted)) == 2)
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGTERM)

        run(
            body,
            ToneSource(),
            service_manager=SystemdNotifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}),
        )
        messages = []
        while True:
            try:
                messages.append(listener.recv(200).decode())
            except BlockingIOError:
                break
    assert messages[0] == "READY=1\nSTATUS=listening to hall"
    assert messages.count("WATCHDOG=1") >= 2
    assert messages[-1] == "STOPPING=1"


def test_the_switch_of_an_unknown_source_changes_nothing() -> None:
    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        daemon.handle(SetListening("attic", False))
        daemon.handle(SetListening("hall", False))
        await until(lambda: len(sink.of(EventEnded)) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    source = ToneSource()
    run(body, source)
    assert source.closed


def test_a_slow_text_tower_holds_up_no_window() -> None:
    """Two hundred new labels take as long as they take; meanwhile every window is scored for the old ones."""
    embedding, release = threading.Event(), threading.Event()
    many = settings_with(*(f"label {number}" for number in range(200)))

    def prepare(label_set: LabelSet) -> ListenedLabels:
        if len(label_set.labels) == 200:
            embedding.set()
            assert release.wait(20)
        return same_score(label_set)

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        def windows() -> int:
            return len(sink.of(WindowHeard))

        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(embedding.is_set)
        before = windows()
        await until(lambda: windows() >= before + 10)
        assert len(sink.of(SourceLabels)) == 1, "the old labels count until the new ones are embedded"
        release.set()
        await until(lambda: len(sink.of(EventStarted)) == 202)
        os.kill(os.getpid(), signal.SIGTERM)

    source = ToneSource(pause_seconds=0.2)  # long enough for a thread to get its turn on a busy machine
    try:
        sink = run(body, source, prepare_labels=prepare, reload_settings=lambda: many)
    finally:
        release.set()
    counters = sink.of(SourceDiagnostics)[-1]
    assert isinstance(counters, SourceDiagnostics) and counters.skipped_windows == 0
    heard = [update for update in sink.of(WindowHeard) if isinstance(update, WindowHeard)]
    steps = {later.ended - sooner.ended for sooner, later in itertools.pairwise(heard)}
    assert steps == {timedelta(seconds=0.1)}, "a window every hop"


def test_labels_that_cannot_be_embedded_end_the_run_at_the_start_and_only_the_reload_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def prepare(label_set: LabelSet) -> ListenedLabels:
        if any(label.name == "bad" for label in label_set.labels):
            raise CheckpointError("model.safetensors: has no text tower")
        return same_score(label_set)

    with pytest.raises(ExceptionGroup) as caught:
        run(None, ToneSource(), settings=settings_with("bad"), prepare_labels=prepare)
    assert caught.group_contains(CheckpointError, match="no text tower")

    async def body(daemon: Daemon, sink: RecordingSink) -> None:
        await until(lambda: len(sink.of(EventStarted)) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "has no text tower" in caplog.text)
        os.kill(os.getpid(), signal.SIGTERM)

    sink = run(body, ToneSource(), prepare_labels=prepare, reload_settings=lambda: settings_with("bad"))
    assert len(sink.of(SourceLabels)) == 1
