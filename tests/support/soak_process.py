"""`clapstream` as a user starts it, except that at SIGUSR2 it reports its tasks, threads and memory (for soak.py).

Tasks can only be counted from inside the process. The handler runs in the thread of the event loop, between two
steps of it, and changes nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

from clapstream.cli import main

REPORT_VARIABLE = "CLAPSTREAM_SOAK_REPORT"


def name_of(task: asyncio.Task[object]) -> str:
    """What the task was named, or what it runs: unnamed tasks are numbered, which would make each a new one."""
    name = task.get_name()
    if not re.fullmatch(r"Task-\d+", name):
        return name
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", type(coroutine).__name__)


class MallInfo2(ctypes.Structure):
    """What glibc's mallinfo2(3) returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def in_use_mb() -> float | None:
    """Memory that was allocated and not freed, whatever the allocator keeps besides; None without glibc."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return None
    mallinfo.restype = MallInfo2
    found = mallinfo()
    return float(found.uordblks + found.hblkhd) / 2**20


def report(_number: int, _frame: object) -> None:
    """Write the tasks and threads by name and the number of objects; a reader sees the whole file or none."""
    path = Path(os.environ[REPORT_VARIABLE])
    held = {
        "tasks": sorted(map(name_of, asyncio.all_tasks(asyncio.get_running_loop()))),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "objects": len(gc.get_objects()),
        "in_use_mb": in_use_mb(),
    }
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(held), encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, report)
    sys.exit(main())
