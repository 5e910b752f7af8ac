"""Keeps the memory of a process that runs for years from growing: fewer malloc arenas, trimmed regularly."""

from __future__ import annotations

import asyncio
import ctypes
import gc

ARENAS = 4
"""Enough that the model's thread rarely waits for another thread's allocation."""

TRIM_INTERVAL_SECONDS = 300.0
"""Not more often, because memory that was returned has to be requested again."""

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def freeze_startup_objects() -> None:
    """Exclude all objects that exist now from garbage collection, and return freed memory to the system.

    Python runs a full collection only once there are 25 % more objects. With the two hundred thousand of the model
    and its libraries, reference cycles of broken connections would accumulate for hours, and each full collection
    would pause the process for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # resets the count that the 25 % refer to
    trim_heap()


def limit_arenas() -> None:
    """Limit glibc to `ARENAS` malloc arenas. Call it before any thread starts; without glibc it does nothing.

    By default threads get up to eight arenas for each core, and each keeps a part of the memory it ever held: a
    daemon that starts a thread for every reconnect would grow for hours.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, ARENAS)


async def trim_periodically(interval_seconds: float = TRIM_INTERVAL_SECONDS) -> None:
    """Call `trim_heap` at an interval, until cancelled.

    Windows, messages and tensors of all sizes fragment the heap: without trimming, resident memory in the soak test
    rose for half an hour while the memory in use did not.
    """
    while True:
        await asyncio.sleep(interval_seconds)
        trim_heap()


def trim_heap() -> None:
    """Return freed memory to the system, with glibc's malloc_trim(3); without glibc it does nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
