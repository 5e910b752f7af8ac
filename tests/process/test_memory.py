"""Freed memory returns to the system, and objects of the start are excluded from garbage collection."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from clapstream.process.memory import ARENAS, trim_heap, trim_periodically

GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")


def resident_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(":", 1) for line in lines)["VmRSS"].split()[0]) / 1024


def fragmented_memory() -> list[bytes]:
    """Free 64 MB in blocks too small to be returned by themselves, and keep a few between them."""
    blocks = [bytes([1]) * 32_768 for _ in range(2_000)]
    return blocks[::100]


@pytest.mark.skipif(not GLIBC, reason="needs glibc's malloc_trim")
def test_freed_memory_is_returned() -> None:
    held = fragmented_memory()
    before = resident_mb()
    trim_heap()
    assert resident_mb() < before - 40.0
    assert len(held) == 20


@pytest.mark.skipif(not GLIBC, reason="needs glibc's malloc_trim")
def test_freed_memory_is_returned_periodically() -> None:
    async def scenario() -> None:
        trimming = asyncio.create_task(trim_periodically(0.01))
        for _ in range(2):
            held = fragmented_memory()
            before = resident_mb()
            async with asyncio.timeout(30):
                while resident_mb() > before - 40.0:  # noqa: ASYNC110 (malloc_trim has no event)
                    await asyncio.sleep(0.01)
            assert len(held) == 20
        trimming.cancel()

    asyncio.run(scenario())


@pytest.mark.skipif(not GLIBC, reason="only glibc has arenas")
def test_the_number_of_arenas_is_limited() -> None:
    """In a separate process, because it must be set before threads start and cannot be undone."""
    code = """
import ctypes, threading
from clapstream.process.memory import limit_arenas
limit_arenas()
together = threading.Barrier(12)
def work():
    held = bytes([1]) * 20_000
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""
    described = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert 1 < described.count("<heap nr=") <= ARENAS


def test_objects_of_the_start_are_excluded_from_collection() -> None:
    """In a separate process, because it affects all later collections."""
    code = """
import gc
from clapstream.process.memory import freeze_startup_objects
lasting = [[number] for number in range(100_000)]
freeze_startup_objects()
print(len(gc.get_objects()), gc.get_freeze_count())
"""
    scanned, frozen = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert scanned < 1_000
    assert frozen > 100_000
