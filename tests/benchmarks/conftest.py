"""A checkpoint small enough to benchmark in seconds, and a cache of the tests' own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.small_checkpoint import AUDIO, TEXT

from benchmarks.checkpoints import BYTE_TOKENS, write_random_checkpoint
from clapstream.clap import ClapConfig, ClapFeatureExtractor

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of two small stages, 16 mels and 201 STFT frames."""
    text = {**TEXT, "vocab_size": BYTE_TOKENS, "max_position_embeddings": 514}
    config = ClapConfig(text_config=text, audio_config=AUDIO, projection_dim=24)
    extractor = ClapFeatureExtractor(feature_size=16, hop_length=2400, truncation="rand_trunc")
    directory = tmp_path_factory.mktemp("tiny")
    write_random_checkpoint(directory, config, extractor)
    return directory


@pytest.fixture(scope="session")
def run_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a module of `benchmarks` as a user would and returns what it printed."""
    cache = tmp_path_factory.mktemp("cache")

    def run(module: str, *arguments: object) -> str:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
