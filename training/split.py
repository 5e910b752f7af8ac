"""Which recordings training never hears: they are there to judge by, and to calibrate on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

ENOUGH_GROUPS = 5
"""Labels with fewer groups of recordings are trained on whole."""


def held_out(group: str) -> bool:
    """Whether this group of recordings is kept from training, if its label has enough: about one in sixteen."""
    return sum(group.encode()) % 16 == 3


def spared(labelled: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of the pairs of a recording's label and group those that training never hears."""
    groups: dict[str, set[str]] = defaultdict(set)
    for label, group in labelled:
        groups[label].add(group)
    return {
        (label, group)
        for label, known in groups.items()
        if len(known) >= ENOUGH_GROUPS
        for group in known
        if held_out(group)
    }
