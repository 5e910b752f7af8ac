"""Batches of fixed sizes: on the CPU with runs that are merely repeated, on a GPU with CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.small_checkpoint import write_small_checkpoint
from support.windows import model_settings
from torch import Tensor

from clapstream.clap.features import fit
from clapstream.inference.cuda_graphs import CudaGraphRunner, DeviceEmbeddings, EmbedSounds, Recorded, repeat_pad
from clapstream.inference.engine import Embeddings
from clapstream.inference.torch_engine import TorchEngine

CPU = torch.device("cpu")


class Recorder:
    """Repeats the run instead of a graph, and notes the sizes of what is run."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.replayed: list[int] = []

    def __call__(self, embed: EmbedSounds, sounds: Tensor) -> Recorded:
        self.recorded.append(len(sounds))
        embeddings = DeviceEmbeddings(*(None if part is None else part.clone() for part in embed(sounds)))

        def replay() -> None:
            self.replayed.append(len(sounds))
            for memory, part in zip(embeddings, embed(sounds), strict=True):
                if memory is not None:
                    memory.copy_(part)

        return Recorded(embeddings, replay)


def sums(sounds: Tensor) -> DeviceEmbeddings:
    """Sum and last sample as a window's embedding, every sample as a segment of its own."""
    return DeviceEmbeddings(torch.stack([sounds.sum(1), sounds[:, -1]], 1), sounds[:, :, None])


@pytest.mark.parametrize(
    ("count", "replayed"), [(1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [4, 1]), (7, [4, 4]), (8, [4, 4])]
)
def test_each_window_gets_its_own_embedding_whatever_the_batch(count: int, replayed: list[int]) -> None:
    recorder = Recorder()
    batches = CudaGraphRunner(sums, 6, CPU, recorder, sizes=(1, 2, 4))
    assert recorder.recorded == [4, 2, 1], "the largest first"
    batches([np.full(6, 9, dtype=np.float32)] * 4)  # what is left over must not show
    recorder.replayed.clear()
    windows = [np.full(6, number, dtype=np.float32) for number in range(count)]
    found = batches(windows)
    np.testing.assert_array_equal(found.windows, [[6 * number, number] for number in range(count)])
    assert found.segments is not None
    np.testing.assert_array_equal(found.segments[:, :, 0], windows)
    assert recorder.replayed == replayed


@pytest.mark.parametrize("samples", [1, 3, 4, 5, 7, 10])
def test_a_short_window_is_padded_as_the_extractor_does(samples: int) -> None:
    window = np.arange(1, samples + 1, dtype=np.float32)
    row = np.full(10, np.nan, dtype=np.float32)
    repeat_pad(window, row)
    expected = fit(torch.from_numpy(window), 10, "repeatpad", np.random.default_rng(0))
    np.testing.assert_array_equal(row, expected)


@pytest.fixture(scope="module", params=["rand_trunc", "fusion"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    write_small_checkpoint(directory, truncation=request.param)
    return directory


def make_engine(checkpoint: Path, device: str, precision: str = "fp32") -> TorchEngine:
    return TorchEngine(model_settings(checkpoint, precision, device), None)


def assert_close(found: Embeddings, expected: Embeddings, atol: float) -> None:
    np.testing.assert_allclose(found.windows, expected.windows, atol=atol)
    assert (found.segments is None) == (expected.segments is None)
    if found.segments is not None and expected.segments is not None:
        np.testing.assert_allclose(found.segments, expected.segments, atol=atol)


def sounds() -> Iterator[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    for samples in (480_000, 480_000, 120_000, 470_001, 480_000):
        yield (random.standard_normal(samples) * 0.1).astype(np.float32)


def test_whole_batches_give_what_the_engine_gives(checkpoint: Path) -> None:
    engine = make_engine(checkpoint, "cpu")
    with torch.inference_mode():
        batches = CudaGraphRunner(engine._embed_sounds, 480_000, CPU, Recorder(), sizes=(1, 4))
        found = batches(list(sounds()))
    assert_close(found, engine.embed(list(sounds())), atol=2e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.02)])
def test_a_gpu_gives_what_the_cpu_gives(checkpoint: Path, precision: str, tolerance: float) -> None:
    expected = make_engine(checkpoint, "cpu").embed(list(sounds()))
    engine = make_engine(checkpoint, "cuda", precision)
    assert engine._graphs is not None, "the graphs were recorded"
    for count in (5, 1, 3, 5, 2):
        found = engine.embed(list(sounds())[:count])
        np.testing.assert_allclose(found.windows, expected.windows[:count], atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_gpu_but_reading_the_result(checkpoint: Path) -> None:
    engine = make_engine(checkpoint, "cuda", "fp16")
    batch = torch.zeros(2, 480_000, device="cuda")
    with torch.inference_mode():
        engine._embed_sounds(batch)
        torch.cuda.set_sync_debug_mode("error")
        try:
            embeddings = engine._embed_sounds(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert embeddings.windows.shape[0] == 2
