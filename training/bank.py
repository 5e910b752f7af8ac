"""Makes the bank: composed windows as the student will see them, with the teacher's tags and the true events.

A shard is a folder: `mel.npy` float16 `(windows, 1001, 64)` in dB, `logits.npy` float16 `(windows, 20, 521)` and
`embeddings.npy` float16 `(windows, 20, 1024)` of the teacher's patches, `events.json`: per window (label, start,
end in s, level in dB).
"""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training import paths, workers
from training.compose import Composer
from training.features import log_mel
from training.paths import RATE_HZ, WINDOW_SECONDS
from training.recordings import Recordings, decode
from training.window import Window
from training.yamnet import PATCH_HOP_SECONDS, WINDOW_PATCHES, Heard, Yamnet, float_graph

SHARD_WINDOWS = 256
SEED = 20261126
PLAIN_FROM = 1000
"""Shards from this number on have single recordings, hardly changed."""
HELD_OUT_FROM = 500
"""Shards from this number on, in a bank of their own, are composed of held-out recordings."""


def tag(teacher: Yamnet, window: Window, silence: Heard) -> Heard:
    """The teacher's output for the padded window: it hears the excerpt once, the repeats get copies."""
    seconds = len(window.excerpt) / RATE_HZ
    if seconds > 6:
        return teacher(window.padded())
    heard = teacher(window.excerpt)
    repeats = int(WINDOW_SECONDS / seconds)
    starts = np.arange(WINDOW_PATCHES) * PATCH_HOP_SECONDS
    patch = np.round((starts % seconds) / PATCH_HOP_SECONDS).astype(int).clip(0, len(heard.logits) - 1)
    logits, embeddings = heard.logits[patch], heard.embeddings[patch]
    silent = starts > repeats * seconds - 0.4
    logits[silent], embeddings[silent] = silence.logits[0], silence.embeddings[0]
    return Heard(logits, embeddings)


def make_shard(number: int, composer: Composer, teacher: Yamnet, folder: Path, windows: int) -> None:
    """Compose, tag and store one shard, unless it exists."""
    final = folder / f"{number:04d}"
    if final.exists():
        return
    began = time.monotonic()
    silence = teacher(np.zeros(RATE_HZ, np.float32))
    mels, logits, embeddings, events = [], [], [], []
    for index in range(windows):
        random = np.random.default_rng((SEED, number, index))
        window = composer.plain_window(random) if number >= PLAIN_FROM else composer.window(random)
        heard = tag(teacher, window, silence)
        mels.append(log_mel(window.padded()).astype(np.float16))
        logits.append(heard.logits[:WINDOW_PATCHES].astype(np.float16))
        embeddings.append(heard.embeddings[:WINDOW_PATCHES].astype(np.float16))
        events.append(window.events)
    part = folder / f"{number:04d}.part"
    part.mkdir(exist_ok=True)
    np.save(part / "mel.npy", np.stack(mels))
    np.save(part / "logits.npy", np.stack(logits))
    np.save(part / "embeddings.npy", np.stack(embeddings))
    (part / "events.json").write_text(json.dumps(events))
    part.rename(final)
    print(f"shard {number}: {(time.monotonic() - began) / windows * 1000:.0f} ms a window", flush=True)


def _work(numbers: list[int], folder: Path, held_out_only: bool, windows: int) -> None:
    composer = Composer(Recordings("open"), held_out_only=held_out_only)
    teacher = Yamnet()
    for number in numbers:
        make_shard(number, composer, teacher, folder, windows)


def _work_in_process(*arguments: Any) -> None:
    torch.set_num_threads(1)
    _work(*arguments)


def build(
    shards: int,
    plain_shards: int,
    worker_count: int = workers.COUNT,
    *,
    first: int = 0,
    held_out_only: bool = False,
    windows: int = SHARD_WINDOWS,
) -> None:
    """Make `shards` shards of composed windows and `plain_shards` of single recordings, `windows` in each.

    Their numbers begin at `first`: shards with other numbers have other windows. Existing shards are kept.
    """
    folder = paths.cache() / ("bank_held_out" if held_out_only else "bank")
    folder.mkdir(parents=True, exist_ok=True)
    plain = PLAIN_FROM + first
    numbers = [*range(first, first + shards), *range(plain, plain + plain_shards)]
    if held_out_only:
        numbers = list(range(HELD_OUT_FROM, HELD_OUT_FROM + shards))
    decode("open")
    float_graph()  # both once and here: workers that start in an empty cache would overwrite each other's files
    if worker_count == 1:
        _work(numbers, folder, held_out_only, windows)
        return
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_work_in_process, args=(numbers[worker::worker_count], folder, held_out_only, windows)
        )
        for worker in range(worker_count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a bank worker failed with exit code {process.exitcode}")
