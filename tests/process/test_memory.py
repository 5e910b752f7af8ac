"""What was freed goes back to the system, and what lasts is out of the collector's sight."""

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


def memory_with_holes() -> list[bytes]:
    """Frees 64 MB in pieces too small to go back by themselves, and keeps a few among them."""
    blocks = [bytes([1]) * 32_768 for _ in range(2_000)]
    return blocks[::100]


@pytest.mark.skipif(not GLIBC, reason="only glibc keeps what was freed")
def test_free_memory_is_given_back() -> None:
    held = memory_with_holes()
    before = resident_mb()
    trim_heap()
    assert resident_mb() < before - 40.0
    assert len(held) == 20


@pytest.mark.skipif(not GLIBC, reason="only glibc keeps what was freed")
def test_free_memory_is_given_back_again_and_again() -> None:
    async def scenario() -> None:
        keeping = asyncio.create_task(trim_periodically(0.01))
        for _ in range(2):
            held = memory_with_holes()
            before = resident_mb()
            await asyncio.sleep(0.5)
            assert resident_mb() < before - 40.0
            assert len(held) == 20
        keeping.cancel()

    asyncio.run(scenario())


@pytest.mark.skipif(not GLIBC, reason="only glibc has arenas")
def test_threads_share_arenas() -> None:
    """In a process of its own, since it lasts and must come first."""
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


def test_the_collector_no_longer_looks_at_what_start_up_made() -> None:
    """In a process of its own, since it lasts."""
    code = """
import gc
from clapstream.process.memory import freeze_startup_objects
lasting = [[number] for number in range(100_000)]
freeze_startup_objects()
print(len(gc.get_objects()), gc.get_freeze_count())
"""
    looked_at, apart = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert looked_at < 1_000
    assert apart > 100_000
