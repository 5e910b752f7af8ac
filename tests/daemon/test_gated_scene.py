"""A real pipeline with and without the gate: the same events, and how many windows were let pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from support.scene import DATA
from support.scoring import listened

from clapstream.audio.block import RATE_HZ, Block, SourceItem, StreamOpened
from clapstream.audio.position import StreamPosition
from clapstream.config import LabelSet, LabelSettings, ModelSettings
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.detection.detector import DetectorRule
from clapstream.detection.events import EventRule
from clapstream.detection.gate import GateRule
from clapstream.inference.labels import LabelEmbedder
from clapstream.inference.scoring import WindowScorer
from clapstream.inference.torch_engine import TorchEngine
from clapstream.inference.worker import Deliver, EmbeddedWindow
from clapstream.updates import Event, EventEnded, LabelInfo, SourceDiagnostics, SourceInfo, Update, WindowHeard

Floats = NDArray[np.float32]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WINDOW, HOP = 10 * RATE_HZ, 5 * RATE_HZ // 2
GATE = GateRule(margin_db=3.0, check_samples=30 * RATE_HZ)
NOISE_RMS = 10 ** (-60 / 20)


class Player:
    """A stream of samples `(samples,)`, read as fast as the model takes it."""

    name = "room"
    dropped_blocks = reconnects = 0
    silent = False

    def __init__(self, samples: Floats) -> None:
        self.samples = samples

    async def items(self) -> AsyncGenerator[SourceItem, None]:
        yield StreamOpened(NOON)
        for first in range(0, len(self.samples), RATE_HZ):
            yield Block(first, self.samples[first : first + RATE_HZ])


class ImmediateModel:
    """Scores a window at once: `score` takes samples and the window's place."""

    def __init__(self, score: Callable[[Floats, StreamPosition], Floats]) -> None:
        self.score = score
        self.scored: list[StreamPosition] = []

    def offer(self, source: str, samples: Floats, position: StreamPosition, deliver: Deliver) -> bool:
        self.scored.append(position)
        asyncio.get_running_loop().call_soon(deliver, EmbeddedWindow(self.score(samples, position), None, 5.0))
        return False

    def withdraw(self, source: str) -> None:
        """Nothing ever waits."""


def listen(
    source: Player,
    rules: Sequence[EventRule],
    score: Callable[[Floats, StreamPosition], Floats],
    gate: GateRule | None,
) -> list[Update]:
    updates: list[Update] = []
    pipeline = SourcePipeline(
        source,
        live=False,
        rule=DetectorRule(WINDOW, HOP, gate),
        worker=ImmediateModel(score),
        publish=updates.append,
    )
    pipeline.use_labels(listened(rules))
    asyncio.run(pipeline.run())
    return updates


def events(updates: Sequence[Update]) -> list[tuple[str, datetime, datetime | None, float]]:
    found: list[Event] = [update.event for update in updates if isinstance(update, EventEnded)]
    return [(event.label.slug, event.started, event.ended, event.peak_score) for event in found]


def last_counters(updates: Sequence[Update]) -> SourceDiagnostics:
    return [update for update in updates if isinstance(update, SourceDiagnostics)][-1]


def noise(seconds: float) -> Floats:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ), dtype=np.float32) * np.float32(
        NOISE_RMS
    )


def clip(name: str, above_noise_db: float) -> Floats:
    """A recording whose RMS level is so far above the noise."""
    samples, _ = soundfile.read(DATA / f"{name}.ogg", dtype="float32")
    return np.asarray(
        samples * (NOISE_RMS * 10 ** (above_noise_db / 20) / np.sqrt(np.mean(samples**2))), np.float32
    )


def place(room: Floats, name: str, at_seconds: float, above_noise_db: float) -> None:
    sound = clip(name, above_noise_db)
    first = round(at_seconds * RATE_HZ)
    room[first : first + len(sound)] += sound


@pytest.mark.parametrize("above_noise_db", [-6, 0, 10, 30])
def test_a_model_that_hears_everything_reports_the_same_events(above_noise_db: float) -> None:
    """It hears a sound in any window that has a tenth of a second of it, however faint that is."""
    room = noise(300)
    starts = {"dog_barking": 100.3, "doorbell": 167.1, "speech": 229.9}
    spans = []
    for name, at in starts.items():
        sound = clip(name, above_noise_db)
        place(room, name, at, above_noise_db)
        audible = np.flatnonzero(np.abs(sound) > 0.1 * np.abs(sound).max()) + round(at * RATE_HZ)
        spans.append((audible[0], audible[-1]))

    def score(samples: Floats, position: StreamPosition) -> Floats:
        first, end = position.first_sample, position.first_sample + len(samples)
        heard = [min(end, last) - max(first, begin) > RATE_HZ // 10 for begin, last in spans]
        return np.where(heard, 0.9, 0.1).astype(np.float32)

    rules = [EventRule(LabelInfo(name, name, 0.6, 0.4)) for name in starts]
    without, gated = (listen(Player(room), rules, score, gate) for gate in (None, GATE))
    assert len(events(without)) == 3
    assert events(gated) == events(without)
    counters = last_counters(gated)
    assert counters.gated_windows > 20, (
        "of 120, the first minute and three times a sound and a window's length apart"
    )
    assert counters.windows + counters.gated_windows == last_counters(without).windows == 120
    assert last_counters(without).gated_windows == 0


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[WindowScorer, list[EventRule]]:
    labels = LabelSet(
        labels=tuple(LabelSettings(name=name) for name in ("dog barking", "doorbell", "speech")),
        background=("a quiet room", "silence", "static noise", "steady white noise"),
    )
    cache = tmp_path_factory.mktemp("cache")
    listened = LabelEmbedder(ModelSettings(), cache).listened_labels(labels)
    return WindowScorer(TorchEngine(ModelSettings(), cache), listened), list(listened.rules)


def test_the_bundled_checkpoint_reports_the_same_events(bundled: tuple[WindowScorer, list[EventRule]]) -> None:
    scorer, rules = bundled
    room = noise(160)
    for name, at, above_noise_db in (
        ("dog_barking", 75.0, 25.0),
        ("speech", 110.0, 3.0),
        ("doorbell", 135.0, 15.0),
    ):
        place(room, name, at, above_noise_db)
    known: dict[int, Floats] = {}

    def score(samples: Floats, position: StreamPosition) -> Floats:
        """Once for each place: both runs are then told the same, and take half the time."""
        end = position.first_sample + len(samples)
        if end not in known:
            with torch.inference_mode():
                known[end] = scorer.score([samples])[0]
        return known[end]

    without, gated = (listen(Player(room), rules, score, gate) for gate in (None, GATE))
    assert events(gated) == events(without)


def silent_model(samples: Floats, position: StreamPosition) -> Floats:
    return np.array([0.01], dtype=np.float32)


RULE = EventRule(LabelInfo("fan", "fan", 0.6, 0.4))


def test_a_window_that_passes_is_heard_all_the_same() -> None:
    updates = listen(Player(noise(100)), [RULE], silent_model, GATE)
    heard = [update for update in updates if isinstance(update, WindowHeard)]
    assert [window.ended for window in heard] == [NOON + timedelta(seconds=2.5 * hop) for hop in range(1, 41)]
    passed = [window for window in heard if window.gated]
    assert len(passed) == last_counters(updates).gated_windows > 5
    for window in passed:
        assert window.level_dbfs == pytest.approx(-60, abs=0.2)
        assert [round(score.score, 2) for score in window.scores] == [0.01]
        assert window.inference_ms == 5.0


def test_a_label_can_ask_for_every_window() -> None:
    always = EventRule(RULE.label, always_score=True)
    assert last_counters(
        listen(Player(noise(100)), [RULE, always], lambda *_: np.full(2, 0.01, np.float32), GATE)
    ) == (SourceDiagnostics(SourceInfo.of("room"), 5.0, 40, 0, 0, 0, gated_windows=0))


def test_an_event_that_goes_on_keeps_the_gate_closed() -> None:
    """However the room sounds: the model says that the fan is on, and later that it is not."""

    def score(samples: Floats, position: StreamPosition) -> Floats:
        end = position.first_sample + len(samples)
        return np.array([0.9 if 20 * RATE_HZ < end <= 200 * RATE_HZ else 0.01], dtype=np.float32)

    without, gated = (listen(Player(noise(300)), [RULE], score, gate) for gate in (None, GATE))
    assert len(events(gated)) == 1
    assert events(gated) == events(without)
    ended = events(gated)[0][2]
    assert ended is not None
    passed = [update for update in gated if isinstance(update, WindowHeard) and update.gated]
    assert passed
    assert min(window.started for window in passed) >= ended


def test_a_new_stream_learns_its_floor_anew() -> None:
    class Twice(Player):
        async def items(self) -> AsyncGenerator[SourceItem, None]:
            for _ in range(2):
                async for item in super().items():
                    yield item

    updates = listen(Twice(noise(100)), [RULE], silent_model, GATE)
    gated = [update.gated for update in updates if isinstance(update, WindowHeard)]
    assert gated[:40] == gated[40:]
    assert True in gated
