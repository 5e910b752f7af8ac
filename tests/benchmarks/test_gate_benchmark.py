"""`python -m benchmarks.gate` on minutes of sound: real doorbells and barks in rooms, noise and a scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.scene import DATA
from support.training_data import write_training_data

from benchmarks import gate
from benchmarks.gate import THRESHOLD_SHARES
from benchmarks.gate_sounds import NOISES, steady_noise

pytestmark = pytest.mark.slow


def test_every_kind_of_sound_has_rows_and_no_event_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_training_data(tmp_path)
    for file in (tmp_path / "validation").iterdir():  # whatever a list calls them
        doorbell, rate_hz = soundfile.read(DATA / "doorbell.ogg")
        soundfile.write(file, doorbell, rate_hz)
    counts = ["--scenes", "1", "--rooms", "1", "--noises", "1", "--seconds", "200"]
    gate.main(["--data", str(tmp_path), *counts])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["sounds", "thresholds", "windows", "passed", "events", "changed"]
    rows = [line.split() for line in lines]
    kinds = ("scenes", "rooms", "noise")
    assert [row[:2] for row in rows] == [[kind, f"{share:.2f}"] for kind in kinds for share in THRESHOLD_SHARES]
    for kind, _, windows, passed, events, changed in rows:
        assert int(windows) == (120 if kind == "scenes" else 80)
        assert 0 <= int(passed) < int(windows)
        assert int(events) >= 0
        assert int(changed) == 0
    assert sum(int(row[3]) for row in rows if row[0] == "noise") > 0
    assert sum(int(row[4]) for row in rows) > 0


@pytest.mark.parametrize(("kind", "dbfs"), NOISES)
def test_noise_has_its_level(kind: str, dbfs: float) -> None:
    samples = steady_noise(kind, dbfs, 2, np.random.default_rng(0))
    rms = np.sqrt(np.mean(samples**2))
    assert 20 * np.log10(rms) == pytest.approx(dbfs + 10 * np.log10(2), abs=0.2)  # noise and hum, each at the level
