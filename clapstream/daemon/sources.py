"""All sources of a daemon at once: they fail one by one, and the user switches each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from clapstream.audio.source import SourceError
from clapstream.daemon.pipeline import SourcePipeline
from clapstream.updates import SourceListening, Update


class Switches(Protocol):
    """Keeps the users' switches over restarts."""

    async def save(self, source: str, listening: bool) -> None:
        """Save a change; never raises and never takes long."""


class RunningSources:
    """The pipelines by slug, each in a task of its own."""

    def __init__(
        self,
        pipelines: Mapping[str, SourcePipeline],
        *,
        switches: Switches | None,
        publish: Callable[[Update], None],
    ) -> None:
        self._pipelines = dict(pipelines)
        self._switches = switches
        self._publish = publish
        self._failures: dict[str, SourceError] = {}
        self._group: asyncio.TaskGroup | None = None
        self._changes: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()

    async def run(self) -> None:
        """Run until every source has ended or failed; then raises SourceError if any had failed.

        Anything else that a source raises ends all of them.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                for slug in self._pipelines:
                    self._start(slug)
        finally:
            self._group = None
        if self._failures:
            raise SourceError("; ".join(self._reason(slug) for slug in self._failures))

    def announce(self) -> None:
        """Tell the sinks which sources listen."""
        for pipeline in self._pipelines.values():
            self._publish(SourceListening(pipeline.info, pipeline.listening))

    def set_listening(self, slug: str, listening: bool) -> None:
        """Switch a source at once, and announce it when it is saved; switching a failed one on tries it again.

        An unknown source is ignored.
        """
        pipeline = self._pipelines.get(slug)
        if pipeline is None:
            return
        pipeline.set_listening(listening)
        if listening and self._group is not None and self._failures.pop(slug, None) is not None:
            self._start(slug)
        self._changes.put_nowait((slug, listening))

    async def save_changes(self) -> None:
        """Save and announce each change of a switch, until cancelled."""
        while True:
            slug, listening = await self._changes.get()
            if self._switches is not None:
                await self._switches.save(slug, listening)
            pipeline = self._pipelines[slug]
            self._publish(SourceListening(pipeline.info, pipeline.listening))
            self._changes.task_done()

    async def changes_saved(self) -> None:
        """Return once every change was saved and announced."""
        await self._changes.join()

    def _start(self, slug: str) -> None:
        assert self._group is not None
        self._group.create_task(self._run(slug), name=f"pipeline {slug}")

    async def _run(self, slug: str) -> None:
        try:
            await self._pipelines[slug].run()
        except SourceError as error:
            self._failures[slug] = error

    def _reason(self, slug: str) -> str:
        """Why a source failed, with its name once."""
        place = f"source {self._pipelines[slug].info.name}: "
        return place + str(self._failures[slug]).removeprefix(place)
