"""A checkpoint is known by what its files hold, wherever they lie and however old they are."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.small_checkpoint import write_small_checkpoint
from support.small_disk import mounted_disk

from clapstream.clap.hub import BUNDLED_DIRECTORY, CheckpointError, CheckpointSource
from clapstream.inference.fingerprint import CACHE_NAME, FileDigests, checkpoint_fingerprint

IO_COUNTERS = Path("/proc/self/io")


def later() -> int:
    """A minute from now: what changed until now has settled."""
    return time.time_ns() + 60 * 10**9


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("original")
    write_small_checkpoint(directory)
    (directory / "calibration.json").write_text('{"slope": 1.0, "offset": 0.0}')
    return directory


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "checkpoint")


def fingerprint(directory: Path, cache: Path | None = None, now: Callable[[], int] = later) -> str:
    return checkpoint_fingerprint(CheckpointSource(directory), cache, now=now)


def bytes_read() -> int:
    """What this process has read from files so far."""
    counters = dict(line.split(": ") for line in IO_COUNTERS.read_text().splitlines())
    return int(counters["rchar"])


def entries(cache: Path) -> dict[str, dict[str, Any]]:
    stored: dict[str, dict[str, Any]] = json.loads((cache / CACHE_NAME).read_text())
    return stored


def change_weight(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    key = min(weights)
    weights[key].view(-1)[0] += 1e-3
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})


def replace_text(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(checkpoint: Path) -> None:
        text = (checkpoint / name).read_text()
        assert before in text
        (checkpoint / name).write_text(text.replace(before, after, 1))

    return change


def test_copied_linked_and_touched_files_have_the_same_fingerprint(original: Path, tmp_path: Path) -> None:
    expected = fingerprint(original)
    assert len(bytes.fromhex(expected)) == 32
    copy = shutil.copytree(original, tmp_path / "elsewhere" / "copy", copy_function=shutil.copyfile)
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    assert fingerprint(copy) == expected
    hub_like = tmp_path / "snapshot"
    hub_like.mkdir()
    for index, path in enumerate(original.iterdir()):
        blob = tmp_path / f"blob{index}"
        shutil.copyfile(path, blob)
        (hub_like / path.name).symlink_to(blob)
    assert fingerprint(hub_like) == expected
    (tmp_path / "link").symlink_to(original)
    assert fingerprint(tmp_path / "link", tmp_path / "cache") == expected


def test_files_that_decide_nothing_do_not_count(checkpoint: Path) -> None:
    expected = fingerprint(checkpoint)
    (checkpoint / "README.md").write_text("a model card")
    (checkpoint / "vocab.json").write_text("{}")  # tokenizer.json is preferred
    (checkpoint / "pytorch_model.bin").write_bytes(b"so is model.safetensors")
    assert fingerprint(checkpoint) == expected


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change_weight, id="weight"),
        pytest.param(replace_text("config.json", '"hidden_act": "gelu"', '"hidden_act": "relu"'), id="model"),
        pytest.param(
            replace_text("preprocessor_config.json", '"hop_length": 2400', '"hop_length": 2401'), id="features"
        ),
        pytest.param(replace_text("tokenizer.json", '"<mask>"', '"<MASK>"'), id="token"),
        pytest.param(replace_text("tokenizer_config.json", "30", "29"), id="tokenizer setting"),
        pytest.param(replace_text("calibration.json", "1.0", "1.5"), id="calibration"),
        pytest.param(lambda checkpoint: (checkpoint / "calibration.json").unlink(), id="no calibration"),
    ],
)
def test_one_change_gives_another_fingerprint(
    checkpoint: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    before = fingerprint(checkpoint, tmp_path / "cache")
    change(checkpoint)
    after = fingerprint(checkpoint, tmp_path / "cache")
    assert after != before
    assert after == fingerprint(checkpoint)


def test_each_shard_counts(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    keys = sorted(weights)
    shards = {"model-1-of-2.safetensors": keys[::2], "model-2-of-2.safetensors": keys[1::2]}
    for name, part in shards.items():
        save_file({key: weights[key] for key in part}, checkpoint / name)
    weight_map = {key: name for name, part in shards.items() for key in part}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    seen = {fingerprint(checkpoint)}
    for name, part in shards.items():
        weights[part[-1]].view(-1)[-1] += 1
        save_file({key: weights[key] for key in part}, checkpoint / name)
        seen.add(fingerprint(checkpoint))
    assert len(seen) == 3


def test_weights_that_torch_saved_and_a_vocabulary_with_merges(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.json").write_text("{}")
    (checkpoint / "merges.txt").write_text("a b")
    torch.save(weights, checkpoint / "pytorch_model.bin")
    seen = {fingerprint(checkpoint)}
    (checkpoint / "merges.txt").write_text("a c")
    seen.add(fingerprint(checkpoint))
    weights[min(weights)].view(-1)[0] += 1
    torch.save(weights, checkpoint / "pytorch_model.bin")
    seen.add(fingerprint(checkpoint))
    assert len(seen) == 3


def test_a_checkpoint_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        fingerprint(checkpoint)


@pytest.mark.skipif(not IO_COUNTERS.exists(), reason="needs Linux's count of the bytes that a process reads")
def test_a_second_start_does_not_read_the_weights(tmp_path: Path) -> None:
    size = (BUNDLED_DIRECTORY / "model.safetensors").stat().st_size
    start = bytes_read()
    cold = checkpoint_fingerprint(CheckpointSource("bundled"), tmp_path, now=later)
    middle = bytes_read()
    warm = checkpoint_fingerprint(CheckpointSource("bundled"), tmp_path, now=later)
    end = bytes_read()
    assert cold == warm
    assert middle - start >= size
    assert end - middle < size / 100


def test_a_file_replaced_with_its_modification_time_kept_is_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    digests = FileDigests(tmp_path, later)
    before = digests.digest(path)
    digests.save()
    other.write_bytes(b"two")
    shutil.copystat(path, other)
    other.replace(path)  # as rsync -t does
    replaced = FileDigests(tmp_path, later).digest(path)
    digests = FileDigests(tmp_path, later)
    assert digests.digest(path) == replaced
    digests.save()
    path.write_bytes(b"six")  # the same inode, as cp -p writes it
    os.utime(path, ns=(10**18, 10**18))
    assert len({before, replaced, FileDigests(tmp_path, later).digest(path)}) == 3


def test_a_file_that_changed_within_this_tick_of_the_clock_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    digests = FileDigests(tmp_path, lambda: path.stat().st_ctime_ns + 10**6)
    digests.digest(path)
    digests.save()
    assert not (tmp_path / CACHE_NAME).exists()
    digests = FileDigests(tmp_path, later)
    digests.digest(path)
    digests.save()
    assert list(entries(tmp_path)) == [str(path)]


def test_entries_of_files_that_are_gone_are_dropped(checkpoint: Path, original: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fingerprint(checkpoint, cache)
    fingerprint(original, cache)
    assert {Path(name).parent for name in entries(cache)} == {checkpoint, original}
    shutil.rmtree(checkpoint)
    fingerprint(original, cache)
    assert {Path(name).parent for name in entries(cache)} == {original}


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": 1', b'{"' + b"x" * 5000 + b'": 1}', b'{"\\u0000": {}}'],
)
def test_a_damaged_cache_is_replaced(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    (tmp_path / CACHE_NAME).write_bytes(damage)
    assert fingerprint(checkpoint, tmp_path) == fingerprint(checkpoint)
    assert len(caplog.records) <= 1
    assert {Path(name).parent for name in entries(tmp_path)} == {checkpoint}


@pytest.mark.parametrize("damage", [None, 1, {}, {"sha256": None}, {"sha256": "abc"}, ["sha256"]])
def test_a_damaged_entry_is_not_believed(checkpoint: Path, tmp_path: Path, damage: Any) -> None:
    expected = fingerprint(checkpoint, tmp_path)
    sound = entries(tmp_path)
    for name, entry in sound.items():
        damaged = {**entry, **damage} if isinstance(damage, dict) and damage else damage
        (tmp_path / CACHE_NAME).write_text(json.dumps({**sound, name: damaged}))
        assert fingerprint(checkpoint, tmp_path) == expected
        assert entries(tmp_path) == sound


def test_a_cache_that_cannot_be_used_is_reported_once(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = fingerprint(checkpoint)
    (tmp_path / "file").write_text("where the cache's directory should be")
    assert fingerprint(checkpoint, tmp_path / "file") == expected
    (tmp_path / "taken" / CACHE_NAME).mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        for _ in range(2):
            assert fingerprint(checkpoint, tmp_path / "taken") == expected
    unreadable, unwritable = (record.getMessage() for record in caplog.records)
    assert str(tmp_path / "taken" / CACHE_NAME) in unreadable and str(tmp_path / "taken") in unwritable


def test_a_disk_that_is_full_or_read_only_costs_one_warning_until_it_works_again(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = fingerprint(checkpoint)
    with mounted_disk(tmp_path / "disk") as disk:
        disk.fill()
        for _ in range(2):
            assert fingerprint(checkpoint, disk.path) == expected
        disk.clear()
        assert fingerprint(checkpoint, disk.path) == expected
        (disk.path / CACHE_NAME).unlink()
        disk.remount("ro")
        assert fingerprint(checkpoint, disk.path) == expected
    full, read_only = (record.getMessage() for record in caplog.records)
    assert "No space left" in full and "Read-only" in read_only


def test_starts_at_the_same_time_share_a_cache(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected, cache = fingerprint(checkpoint), tmp_path / "cache"

    def start(_: int) -> str:
        found = fingerprint(checkpoint, cache)
        (cache / CACHE_NAME).unlink(missing_ok=True)  # so that the others write again
        return found

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(start, range(400))) == {expected}
    fingerprint(checkpoint, cache)
    assert [path.name for path in cache.iterdir()] == [CACHE_NAME]
    assert caplog.text == ""


def test_engine_and_labels_read_the_files_once_between_them(checkpoint: Path, tmp_path: Path) -> None:
    """Each file that is read asks for the time once; the slow clock makes both ask at the same time."""
    read = []

    def now() -> int:
        read.append(1)
        time.sleep(0.05)
        return time.time_ns() + 3_600_000_000_000

    source = CheckpointSource(str(checkpoint))
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(checkpoint_fingerprint, source, tmp_path / "cache", now=now) for _ in range(2)]
        assert both[0].result() == both[1].result()
    assert len(read) == len(json.loads((tmp_path / "cache" / CACHE_NAME).read_text()))


def test_a_file_name_that_is_not_utf_8_is_cached_too(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xe9t\xe9")
    path.write_bytes(b"content")
    digests = FileDigests(tmp_path, later)
    digests.digest(path)
    digests.save()
    assert list(entries(tmp_path)) == [str(path)]
