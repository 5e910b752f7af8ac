"""A task that the user switches: off cancels it, on starts it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class SwitchedTask:
    """Runs `body` again and again while it is switched on, until it returns by itself."""

    def __init__(self, body: Callable[[], Coroutine[None, None, None]], name: str, *, on: bool) -> None:
        self._body = body
        self._name = name
        self._on = on
        self._switched_on = asyncio.Event()
        self._switched_off = False
        self._task: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Whether it is switched on."""
        return self._on

    def switch(self, on: bool) -> None:
        """Switch it; no effect if it is in that state already."""
        if on == self._on:
            return
        self._on = on
        if on:
            self._switched_on.set()
        elif self._task is not None and not self._switched_off:
            self._switched_off = True
            self._task.cancel()

    async def run(self) -> None:
        """Run until the body returns; raises what it raises, RuntimeError if it was cancelled by anyone else."""
        while True:
            await self._until_on()
            self._switched_off = False
            self._task = asyncio.create_task(self._body(), name=self._name)
            try:
                await self._task
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    raise
                if not self._switched_off:
                    # Passed on, it would end this task silently: a task group ignores cancellation.
                    raise RuntimeError(f"{self._name} was cancelled unexpectedly") from None
                # It may be on again: switched while the body was ending.
            else:
                return
            finally:
                self._task = None

    async def _until_on(self) -> None:
        while not self._on:
            self._switched_on.clear()
            await self._switched_on.wait()
