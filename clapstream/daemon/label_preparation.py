"""Makes the labels of all sources ready to score, on a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from clapstream.config import LabelSet, Settings
from clapstream.detection.detector import ListenedLabels
from clapstream.updates import SourceInfo

ListenedBySource = Mapping[SourceInfo, ListenedLabels]
"""What each source listens for."""

PrepareLabels = Callable[[LabelSet], ListenedLabels]
"""Embeds a label set; may take as long as a text tower does."""


class LabelPreparation:
    """Runs `prepare` where neither the event loop nor the model thread waits for it."""

    def __init__(self, prepare: PrepareLabels) -> None:
        self._prepare = prepare
        # Not the event loop's executor, whose end it would wait for.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="labels")

    async def of_sources(self, settings: Settings, sources: Iterable[SourceInfo]) -> ListenedBySource:
        """What each source listens for; sources with equal label sets share one. Raises what `prepare` raises."""
        loop = asyncio.get_running_loop()
        prepared: list[tuple[LabelSet, ListenedLabels]] = []
        found = {}
        for source in sources:
            label_set = settings.labels_of(source)
            labels = next((labels for known, labels in prepared if known == label_set), None)
            if labels is None:
                labels = await loop.run_in_executor(self._thread, self._prepare, label_set)
                prepared.append((label_set, labels))
            found[source] = labels
        return found
