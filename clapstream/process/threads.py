"""Limits the CPU use of OpenMP's threads, so that a program that never ends leaves the machine usable.

OpenMP, which torch uses, reads its variables once, when torch is imported: call `set_openmp_defaults` before that.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

WAIT_POLICY = "PASSIVE"
"""Waiting threads sleep. By default they spin for a while after each parallel section."""


def set_openmp_defaults(environment: MutableMapping[str, str] = os.environ, cores: int | None = None) -> None:
    """Set the wait policy and one thread fewer than `cores` (default: those this process may use), if unset."""
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_WAIT_POLICY", WAIT_POLICY)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores - 1)))
