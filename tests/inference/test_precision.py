"""The choice of device and precision, with the machine's answers given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_checkpoint import write_small_checkpoint

from clapstream.clap.audio import ClapAudioModelWithProjection
from clapstream.clap.config import ClapAudioConfig
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.detection.band_levels import band_levels
from clapstream.inference.embedding_cache import EmbeddingCache
from clapstream.inference.precision import choose_device, choose_precision, probe_cosine, probe_window


def refuse(dtype: torch.dtype) -> float:
    raise AssertionError(f"{dtype} was probed although it is not wanted")


@pytest.mark.parametrize(
    ("wanted", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_named_precision_is_taken_unasked(wanted: str, expected: torch.dtype) -> None:
    assert choose_precision(wanted, True, refuse) == expected
    assert choose_precision(wanted, False, refuse) == expected


def test_auto_without_native_bf16_is_fp32() -> None:
    assert choose_precision("auto", False, refuse) == torch.float32


@pytest.mark.parametrize(("cosine", "expected"), [(0.9995, torch.bfloat16), (0.9985, torch.float32)])
def test_auto_takes_bf16_only_if_the_probe_agrees(
    cosine: float, expected: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_precision("auto", True, lambda dtype: cosine) == expected
    assert ("bf16 is off" in caplog.text) == (expected == torch.float32)


def test_auto_takes_no_bf16_that_overflows() -> None:
    assert choose_precision("auto", True, lambda dtype: float("nan")) == torch.float32


def test_auto_device_is_one_that_is_there() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_probe_is_a_window_within_full_scale() -> None:
    probe = probe_window()
    assert probe.shape == (480_000,)
    assert probe.dtype == torch.float32
    assert 0.05 < probe.abs().max() <= 1.0
    assert band_levels(probe.numpy())[1].min() > -75, "there is something in every band"


class RunningTower(ClapAudioModelWithProjection):
    """Notes the precision of each run."""

    def __init__(self, config: ClapAudioConfig) -> None:
        super().__init__(config)
        self.runs: list[torch.dtype] = []

    def forward(self, *arguments: Any, **options: Any) -> Any:
        self.runs.append(self.dtype)
        return super().forward(*arguments, **options)


def test_the_probe_compares_with_single_precision_which_runs_once_for_a_checkpoint(tmp_path: Path) -> None:
    write_small_checkpoint(tmp_path)
    extractor = ClapFeatureExtractor.from_pretrained(tmp_path)
    exact = RunningTower.from_pretrained(tmp_path)
    features = extractor(probe_window(), sampling_rate=48_000, return_tensors="pt")["input_features"]
    embeds = [
        tower(input_features=features.to(tower.dtype)).audio_embeds.float()
        for tower in (exact, RunningTower.from_pretrained(tmp_path, dtype="bfloat16"))
    ]
    expected = torch.nn.functional.cosine_similarity(*embeds).item()
    assert 0.99 < expected < 1.0
    for runs in ([torch.float32, torch.bfloat16], [torch.bfloat16]):
        tower = RunningTower.from_pretrained(tmp_path)
        cosine = probe_cosine(tower, extractor, EmbeddingCache(tmp_path / "cache", "f"), torch.bfloat16)
        assert cosine == pytest.approx(expected, abs=1e-3)
        assert tower.runs == runs
        assert tower.is_prepared_for_inference
