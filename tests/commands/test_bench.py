"""What `clapstream bench` measures, with a detector and clocks whose answers are known, and what it prints."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clapstream.audio.position import StreamPosition
from clapstream.cli import main
from clapstream.commands.bench import (
    PAUSE_SECONDS,
    SOURCES_AT_ONCE,
    Clocks,
    Speed,
    hops,
    measure,
    processor_name,
    render,
)

Floats = NDArray[np.float32]
FEATURES_SECONDS, TOWER_SECONDS, GATE_SECONDS, CORES, SPIN = 0.002, 0.010, 0.001, 2, 0.5


class TimedDetector:
    """Takes a known time for each window on some cores, and burns a share of a core while it waits."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self.sources: set[int] = set()

    def features(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> torch.Tensor:
        self._take(FEATURES_SECONDS * len(windows))
        return torch.zeros(len(windows))

    def score(self, windows: Sequence[Floats], positions: Sequence[StreamPosition]) -> Floats:
        assert len({position.stream for position in positions}) == len(windows)
        self.sources.add(len(windows))
        self._take(FEATURES_SECONDS * len(windows) + TOWER_SECONDS * (1 + len(windows)) / 2)
        return np.zeros((len(windows), 1), dtype=np.float32)

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.cpu += seconds * SPIN

    def levels(self, samples: Floats) -> Floats:
        self._take(GATE_SECONDS)
        return samples

    def _take(self, seconds: float) -> None:
        self.wall += seconds
        self.cpu += seconds * CORES

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.cpu, self.sleep)


def test_the_figures_are_those_of_the_clocks() -> None:
    detector = TimedDetector()
    speed = measure(detector, detector, 1.0, 0.25, clocks=detector.clocks, levels=detector.levels)
    assert detector.sources == {1, SOURCES_AT_ONCE}
    assert speed.features_ms == pytest.approx(2.0)
    assert speed.window_ms == pytest.approx(12.0)
    assert speed.tower_ms == pytest.approx(10.0)
    assert speed.windows_per_second == pytest.approx(8 / (8 * 0.002 + 0.010 * 4.5))
    assert speed.microphones == 32
    assert speed.core_share == pytest.approx((2 * 0.012 + PAUSE_SECONDS * SPIN) / 0.25), "waiting that burns counts"
    assert speed.quiet_core_share == speed.core_share, "there is no gate"


def test_a_quiet_source_costs_the_gate_and_one_window_a_check() -> None:
    detector = TimedDetector()
    speed = measure(detector, detector, 1.0, 0.25, 2.5, clocks=detector.clocks, levels=detector.levels)
    window, gate = (2 * 0.012 + PAUSE_SECONDS * SPIN) / 0.25, 2 * 0.001 / 0.25
    assert speed.core_share == pytest.approx(window + gate)
    assert speed.quiet_core_share == pytest.approx(window / 10 + gate)


def test_windows_of_a_stream_overlap_by_all_but_a_hop() -> None:
    windows = [(samples[0], positions[0]) for samples, positions in hops(1, 100, 30)]
    for (before, place_before), (after, place_after) in itertools.pairwise(windows):
        np.testing.assert_array_equal(before[30:], after[:-30])
        assert place_after.stream is place_before.stream
        assert place_after.first_sample == place_before.first_sample + 30


def test_the_table_has_one_figure_per_line() -> None:
    lines = render(Speed(2.5, 1.0, 11.0, 96.04, 0.02)).splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["ms", "ms", "96.0", "240", "0.80%", "0.80%"]
    assert lines[-1].startswith("peak memory")
    assert len({len(line) for line in lines}) == 1


def test_the_processor_has_a_name_everywhere(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t: fpu\n" * 2)
    (tmp_path / "arm").write_text("processor\t: 0\nCPU part\t: 0xd08\n")
    assert processor_name(tmp_path / "x86") == "Some CPU @ 2 GHz"
    assert processor_name(tmp_path / "arm") == processor_name(tmp_path / "none") != ""


@pytest.mark.slow
def test_json_is_one_object_of_plain_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["bench", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    figures = json.loads(line, parse_constant=pytest.fail)
    assert figures["checkpoint"] == "bundled"
    assert figures["processor"] == processor_name()
    assert 0 < figures["features_ms"] < figures["window_ms"]
    assert figures["microphones"] == int(figures["windows_per_second"] * figures["hop_seconds"])
    assert 0 < figures["quiet_core_share"] <= figures["core_share"]
    for name in ("device", "precision", "threads", "tower_ms", "peak_memory_mb"):
        assert figures[name]
