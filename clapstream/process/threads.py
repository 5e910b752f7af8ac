"""Makes a program that never ends a good neighbour: its threads wait asleep, and one core is left to others.

The OpenMP runtime below torch reads its settings once, when torch is imported: this comes first.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

WAIT_POLICY = "PASSIVE"
"""By default OpenMP's threads burn their cores for a while after each parallel piece of work, waiting for more."""


def set_openmp_defaults(environment: MutableMapping[str, str] = os.environ, cores: int | None = None) -> None:
    """Set what the user has not: threads that sleep, and one fewer than there are `cores` (those we may use)."""
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_WAIT_POLICY", WAIT_POLICY)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, cores - 1)))
