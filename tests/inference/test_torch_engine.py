"""The engine on a real, tiny checkpoint directory: from sound to scores, and what goes wrong with checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_checkpoint import write_small_checkpoint
from support.windows import model_settings, noise_windows

from clapstream.audio.position import StreamPosition
from clapstream.clap.features import ClapFeatureExtractor
from clapstream.clap.hub import CheckpointError
from clapstream.clap.model import ClapModel
from clapstream.clap.prepared.onednn import native_bfloat16
from clapstream.inference.precision import DeviceError
from clapstream.inference.torch_engine import TorchEngine


def test_a_shorter_window_is_repeated(checkpoint: Path) -> None:
    engine = TorchEngine(model_settings(checkpoint), None)
    second = noise_windows(1, 48_000)[0]
    np.testing.assert_allclose(
        engine.embed([second]).windows, engine.embed([np.tile(second, 10)]).windows, atol=1e-5
    )


def test_windows_of_many_lengths_do_not_disturb_each_other(checkpoint: Path) -> None:
    engine = TorchEngine(model_settings(checkpoint), None)
    mixed = [*noise_windows(4), noise_windows(1, 100_001)[0], *noise_windows(4)]
    together = engine.embed(mixed).windows
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for window, row in zip(mixed, together, strict=True):
        np.testing.assert_allclose(engine.embed([window]).windows[0], row, atol=1e-5)


class Stream:
    """Stands for a stream: only its identity counts."""


@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
def test_windows_of_streams_score_as_if_each_came_by_itself(tmp_path: Path, truncation: str) -> None:
    write_small_checkpoint(tmp_path, truncation)
    engine = TorchEngine(model_settings(tmp_path), None)
    kitchen, yard = noise_windows(2, 960_000)
    streams = (Stream(), Stream())
    for end in (120_000, 480_000, 600_000, 960_000):
        batch = [sound[max(0, end - 480_000) : end].copy() for sound in (kitchen, yard)]
        positions = [StreamPosition(stream, max(0, end - 480_000)) for stream in streams]
        np.testing.assert_allclose(engine.embed(batch, positions).windows, engine.embed(batch).windows, atol=1e-5)


def test_a_fused_checkpoint_works_and_has_no_chance_in_it(tmp_path: Path) -> None:
    write_small_checkpoint(tmp_path, truncation="fusion")
    engine = TorchEngine(model_settings(tmp_path), None)
    first, second = (engine.embed(noise_windows(3)).windows for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_segments_are_those_of_the_model(checkpoint: Path) -> None:
    engine = TorchEngine(model_settings(checkpoint), None)
    found = engine.embed(noise_windows(6))
    model = ClapModel.from_pretrained(checkpoint)
    extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
    features = extractor(noise_windows(6), sampling_rate=48_000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        expected = model.get_audio_segment_features(features).numpy()
    assert found.segments is not None and found.segments.shape == expected.shape
    np.testing.assert_allclose(found.segments, expected, atol=1e-4)
    assert len(engine.segment_spans) == expected.shape[1]
    assert engine.segment_spans[0][0] == 0.0 and engine.segment_spans[-1][1] == pytest.approx(10.0, abs=0.1)


def test_bf16_is_close_to_fp32(checkpoint: Path) -> None:
    exact = TorchEngine(model_settings(checkpoint), None)
    fast = TorchEngine(model_settings(checkpoint, "bf16"), None)
    assert fast.precision == torch.bfloat16
    cosines = (exact.embed(noise_windows(3)).windows * fast.embed(noise_windows(3)).windows).sum(axis=1)
    assert cosines.min() > 0.999


@pytest.mark.skipif(not native_bfloat16(torch.device("cpu")), reason="auto takes bf16 only where the CPU has it")
def test_auto_takes_bf16_where_it_agrees(checkpoint: Path) -> None:
    chosen = TorchEngine(model_settings(checkpoint, "auto"), None)
    assert chosen.precision == torch.bfloat16
    np.testing.assert_array_equal(
        chosen.embed(noise_windows(2)).windows,
        TorchEngine(model_settings(checkpoint, "bf16"), None).embed(noise_windows(2)).windows,
    )


@pytest.mark.skipif(not native_bfloat16(torch.device("cpu")), reason="auto takes bf16 only where the CPU has it")
def test_auto_is_exactly_fp32_for_a_checkpoint_that_bf16_harms(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = checkpoint / "model.safetensors"
    state = load_file(weights)
    # An offset that the next layer takes away again; beside it bf16 steps by 16 and loses all that differs.
    state["audio_model.audio_encoder.norm.bias"] += 3000.0
    state["audio_projection.linear1.bias"] -= state["audio_projection.linear1.weight"].sum(dim=1) * 3000.0
    save_file(state, weights)
    chosen = TorchEngine(model_settings(checkpoint, "auto"), None)
    assert chosen.precision == torch.float32
    assert "bf16 is off" in caplog.text
    np.testing.assert_array_equal(
        chosen.embed(noise_windows(2)).windows,
        TorchEngine(model_settings(checkpoint, "fp32"), None).embed(noise_windows(2)).windows,
    )


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing"):
        TorchEngine(model_settings(tmp_path / "nothing"), None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_reported(checkpoint: Path) -> None:
    with pytest.raises(DeviceError, match=r"model\.device: cuda is not there"):
        TorchEngine(model_settings(checkpoint, device="cuda"), None)


def test_warming_up_runs_a_batch_of_every_size_that_the_sources_may_ask_for(checkpoint: Path) -> None:
    engine = TorchEngine(model_settings(checkpoint), None)
    sizes: list[int] = []
    engine._tower.audio_model.register_forward_pre_hook(lambda _module, args: sizes.append(len(args[0])))
    engine.warm_up(3)
    assert sizes == [1, 2, 3]
    sizes.clear()
    engine.warm_up(100)
    assert sizes == [1, 2, 3, 4]
    engine.embed(noise_windows(9))
    assert sizes[4:] == [4, 4, 1]  # of any number of sources, no batch is larger than what is warm
