from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.small_disk import SmallDisk

from clapstream.daemon.listening_switches import ListeningSwitches

ALL_ON = {"bedroom": True, "hall": True}


def load(directory: Path, initial: Mapping[str, bool] = ALL_ON, node: str = "home") -> dict[str, bool]:
    return ListeningSwitches(directory, node, initial).load()


def save(directory: Path, *changes: tuple[str, bool], initial: Mapping[str, bool] = ALL_ON) -> None:
    async def main() -> None:
        switches = ListeningSwitches(directory, "home", initial)
        for source, listening in changes:
            await switches.save(source, listening)

    asyncio.run(main())


def test_the_configuration_counts_until_a_source_is_switched(tmp_path: Path) -> None:
    initial = {"bedroom": False, "hall": True}
    assert load(tmp_path / "none yet", initial) == initial
    save(tmp_path, ("bedroom", True), ("hall", False), initial=initial)
    assert load(tmp_path, initial) == {"bedroom": True, "hall": False}
    assert load(tmp_path, initial, node="cabin") == initial, "another node"
    save(tmp_path, ("bedroom", False), ("hall", True), initial=initial)
    assert load(tmp_path, initial) == {"bedroom": False, "hall": True}


def test_removed_sources_leave_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "listening-cabin-bedroom.off").touch()
    save(tmp_path, ("bedroom", False), ("hall", False))
    save(tmp_path, ("hall", True), initial={"hall": True})
    assert {path.name for path in tmp_path.iterdir()} == {"listening-home-hall.on", "listening-cabin-bedroom.off"}


def test_between_off_and_on_is_off(tmp_path: Path) -> None:
    """As a process leaves it that is killed half way."""
    for ending in ("on", "off"):
        (tmp_path / f"listening-home-bedroom.{ending}").touch()
    assert load(tmp_path)["bedroom"] is False


def test_what_is_in_the_files_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "listening-home-bedroom.off").write_bytes(b"\0\xff damaged")
    assert load(tmp_path) == {"bedroom": False, "hall": True}


def test_a_directory_that_cannot_be_read_keeps_sources_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "state"
    directory.symlink_to(directory)
    assert load(directory) == {"bedroom": False, "hall": False}
    assert "cannot be read" in caplog.text


def test_off_is_saved_on_a_full_disk(small_disk: SmallDisk, caplog: pytest.LogCaptureFixture) -> None:
    small_disk.fill()
    save(small_disk.path, ("bedroom", False))
    assert load(small_disk.path) == {"bedroom": False, "hall": True}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_read_only_disk_is_warned_about_once_and_tried_again(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    small_disk.remount("ro")

    async def main() -> None:
        switches = ListeningSwitches(small_disk.path, "home", ALL_ON, retry_seconds=0.05)
        await switches.save("bedroom", False)
        await switches.save("hall", False)
        assert load(small_disk.path) == ALL_ON
        await asyncio.sleep(0.2)
        small_disk.remount("rw")
        async with asyncio.timeout(20):
            while load(small_disk.path) != {"bedroom": False, "hall": False}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while "is saved" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    with caplog.at_level(logging.INFO, "clapstream"):
        asyncio.run(main())
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert "Read-only file system" in warnings[0]
    assert "bedroom" in warnings[0]
