"""Keeps a process that runs for years small: what is free goes back to the system, what lasts is out of the way."""

from __future__ import annotations

import asyncio
import ctypes
import gc

ARENAS = 4
"""Enough that the thread of the model seldom waits for another one."""

TRIM_INTERVAL_SECONDS = 300.0
"""Seldom, since what is given back has to be fetched again."""

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def freeze_startup_objects() -> None:
    """Take what start-up made, which lasts, out of the garbage collector's sight, and give back what it freed.

    The collector only looks at old objects once there are a quarter more of them. With the two hundred thousand of
    the model and its libraries, the cycles that broken connections leave behind would pile up for hours, and each
    look would hold up everything for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # so that the quarter is one of what came later
    trim_heap()


def limit_arenas() -> None:
    """Let threads share a few of glibc's arenas; before any thread starts, and without effect elsewhere.

    By default each new thread may get one of its own, up to eight for each core, that keeps a part of what it ever
    held: a daemon that starts a thread for every reconnect would grow for hours until it has them all.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, ARENAS)


async def trim_periodically(interval_seconds: float = TRIM_INTERVAL_SECONDS) -> None:
    """Give back what was freed, for ever.

    Windows, messages and tensors of all sizes come and go, and leave free memory between those that stay: in the
    soak, resident memory rose for half an hour while what was in use did not.
    """
    while True:
        await asyncio.sleep(interval_seconds)
        trim_heap()


def trim_heap() -> None:
    """Return memory that was freed to the system: glibc keeps it. Other C libraries have no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
