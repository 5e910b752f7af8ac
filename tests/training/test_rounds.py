"""The rounds, each step in its place; what an interrupted run had done is not done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training import paths, rounds
from training.__main__ import budgeted


class Steps:
    """Stands for the steps: leaves behind what each of them leaves in the cache, and fails where it is told to."""

    def __init__(self, cache: Path, fails_at: str = "") -> None:
        self.cache, self.fails_at = cache, fails_at
        self.done: list[str] = []

    def __call__(self, name: str, **options: Any) -> None:
        said = " ".join([name, *(f"{key}={getattr(value, 'name', value)}" for key, value in options.items())])
        if name == "resume" and paths.aligned_text().exists():
            raise FileExistsError
        if said == self.fails_at:
            if name == "resume":
                paths.text_folder().mkdir(exist_ok=True)
                paths.aligned_text().touch()
            raise KeyboardInterrupt
        self.done.append(said)
        leaves = {
            "bank": "bank/shard",
            "text": "text/text.safetensors",
            "audio": "audio.pt",
            "align": "text/aligned.safetensors",
            "resume": "audio.pt",
        }
        left = self.cache / leaves[name] if name in leaves else options.get("folder", self.cache) / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text(said)


FIRST = ["bank", "text", "audio", "align", "export folder=round-0.part kept=0.0"]
SECOND = ["bank first=60 shards=60", "resume folder=round-0", "audio", "export folder=round-1.part kept=0.2"]
THIRD = ["bank first=120 shards=60", "resume folder=round-1", "audio", "export folder=round-2.part kept=0.65"]
FOURTH = ["bank first=180 shards=120", "resume folder=round-2", "audio"]
END = ["export folder=out kept=0.5", "calibrate folder=out", "card folder=out"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINING_CACHE", str(tmp_path))
    return tmp_path


def test_each_round_begins_with_the_checkpoint_before_it_and_none_of_its_windows(cache: Path) -> None:
    steps = Steps(cache)
    rounds.every_round(steps, cache / "out")
    assert steps.done == FIRST + SECOND + THIRD + FOURTH + END
    assert (cache / "bank" / "shard").read_text() == "bank first=180 shards=120"
    assert all((cache / f"round-{number}" / "export").exists() for number in range(3))
    assert not paths.aligned_text().exists()  # `resume` writes it, and refuses to overwrite one


@pytest.mark.parametrize(
    ("at", "then"),
    [
        ("align", FIRST + SECOND + THIRD + FOURTH + END),
        ("resume folder=round-0", SECOND + THIRD + FOURTH + END),
        ("resume folder=round-2", FOURTH + END),
        ("export folder=round-1.part kept=0.2", [SECOND[0], *SECOND[2:], *THIRD, *FOURTH, *END]),
        ("export folder=out kept=0.5", [FOURTH[0], FOURTH[2], *END]),
    ],
)
def test_an_interrupted_run_goes_on_in_its_round(cache: Path, at: str, then: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        rounds.every_round(Steps(cache, fails_at=at), cache / "out")
    again = Steps(cache)
    rounds.every_round(again, cache / "out")
    assert again.done == then


def test_a_share_of_every_budget_and_nothing_else() -> None:
    whole = {"step": "bank", "shards": 120, "first": 180, "plain_shards": 56, "minutes": 104.0, "kept": 0.65}
    shrunk = {"shards": 12, "plain_shards": 6, "minutes": pytest.approx(10.4)}
    assert budgeted(whole, 0.1) == whole | shrunk
    assert budgeted(whole, 0.001)["shards"] == 2
    assert budgeted(whole, 1.0) == whole
