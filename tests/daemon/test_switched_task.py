"""A task that the user switches while it is ending by itself."""

from __future__ import annotations

import asyncio

import pytest

from clapstream.daemon.switched_task import SwitchedTask


def test_switching_off_what_has_just_failed_does_not_disarm_the_switch() -> None:
    async def scenario() -> None:
        calls, ended = 0, asyncio.Event()

        async def body() -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                asyncio.get_running_loop().call_soon(task.switch, False)  # after it failed, before `run` sees it
                raise OSError("no such device")
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        task = SwitchedTask(body, "hall", on=True)
        with pytest.raises(OSError, match="no such device"):
            await task.run()
        assert not task.on
        task.switch(True)
        running = asyncio.create_task(task.run())
        while calls < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.switch(False)
        await asyncio.wait_for(ended.wait(), 10)
        running.cancel()

    asyncio.run(scenario())
