"""Which recordings are held out: training never uses them, evaluation and calibration do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

ENOUGH_GROUPS = 5
"""Labels with fewer groups of recordings are used for training as a whole."""


def is_held_out(group: str) -> bool:
    """Whether this group of recordings is held out, if its label has enough groups: about one in sixteen."""
    return sum(group.encode()) % 16 == 3


def held_out(labelled: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of pairs (label, group) of recordings those that are held out."""
    groups: dict[str, set[str]] = defaultdict(set)
    for label, group in labelled:
        groups[label].add(group)
    return {
        (label, group)
        for label, known in groups.items()
        if len(known) >= ENOUGH_GROUPS
        for group in known
        if is_held_out(group)
    }
