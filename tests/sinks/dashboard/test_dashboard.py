from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from support.sources import KITCHEN

from clapstream.sinks.dashboard.encoding import encodable
from clapstream.sinks.dashboard.sink import DashboardSink
from clapstream.sinks.dashboard.svg import export_svg
from clapstream.sinks.dashboard.text import one_line
from clapstream.updates import LabelInfo, LabelScore, WindowHeard

ENTER_ALTERNATE_SCREEN, LEAVE_ALTERNATE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
DOG = LabelInfo("dog barking", "dog_barking", 0.6, 0.4)


class Terminal(io.StringIO):
    """A terminal that accepts all output."""

    def isatty(self) -> bool:
        return True


class BlockedTerminal(Terminal):
    """A terminal whose user pressed Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.released.wait()
        return super().write(text)


class LostTerminal(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def sink_on(terminal: TextIO, now: Callable[[], datetime] = lambda: NOW) -> DashboardSink:
    console = Console(file=terminal, width=80, height=24, force_terminal=True, color_system=None)
    return DashboardSink(
        console, model="bundled", device="cpu", node="home", sources=[KITCHEN], broker=None, now=now
    )


def heard(score: float = 0.8) -> WindowHeard:
    scores = (LabelScore(DOG, score, False),)
    return WindowHeard(KITCHEN, NOW - timedelta(seconds=10), NOW, False, -40.0, 20.0, scores)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (another thread draws)
            await asyncio.sleep(0.01)


def run_and_close(sink: DashboardSink) -> None:
    """Run the sink and close it at once."""

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            await asyncio.sleep(0)
            sink.close()

    asyncio.run(main())


def test_it_draws_updates_and_restores_the_terminal() -> None:
    terminal = Terminal()
    sink = sink_on(terminal)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            sink.offer(heard(0.81))
            await until(lambda: "0.81" in terminal.getvalue())
            sink.offer(heard(0.79))
            sink.set_broker_state("offline")
            sink.set_device("cuda bf16")
            await until(lambda: "0.79" in terminal.getvalue() and "cuda bf16" in terminal.getvalue())
            sink.close()

    asyncio.run(main())
    drawn = terminal.getvalue()
    assert drawn.index(ENTER_ALTERNATE_SCREEN) < drawn.index("0.81") < drawn.index(LEAVE_ALTERNATE_SCREEN)
    assert SHOW_CURSOR in drawn
    assert "0.79" in drawn.partition(LEAVE_ALTERNATE_SCREEN)[2], "the last picture must stay"


def test_no_picture_stays_if_nothing_was_heard() -> None:
    terminal = Terminal()
    run_and_close(sink_on(terminal))
    assert "kitchen" not in terminal.getvalue().partition(LEAVE_ALTERNATE_SCREEN)[2]


def test_updates_before_and_after_the_run_are_accepted() -> None:
    sink = sink_on(Terminal())
    sink.offer(heard())
    run_and_close(sink)
    sink.offer(heard(0.5))
    assert sink.state.sources["kitchen"].heard == heard(0.5)


def test_the_clock_goes_on_without_updates() -> None:
    terminal = Terminal()
    times = (NOW + timedelta(seconds=number) for number in range(1000))
    sink = sink_on(terminal, lambda: next(times))

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            await until(lambda: "12:00:03" in terminal.getvalue())
            sink.close()

    asyncio.run(main())


def test_log_lines_are_kept_off_the_terminal_and_warnings_are_shown() -> None:
    terminal, log_terminal, log_file = Terminal(), Terminal(), io.StringIO()
    sink = sink_on(terminal)
    root = logging.getLogger()
    handlers: list[logging.Handler] = [logging.StreamHandler(log_terminal), logging.StreamHandler(log_file)]
    before = list(root.handlers)
    root.handlers[:] = handlers

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            await until(lambda: ENTER_ALTERNATE_SCREEN in terminal.getvalue())
            await asyncio.to_thread(logging.warning, "broker %s", "away")
            await until(lambda: "broker away" in terminal.getvalue())
            sink.close()

    try:
        asyncio.run(main())
        assert log_terminal.getvalue() == ""
        assert log_file.getvalue() == "broker away\n"
        assert set(root.handlers) == set(handlers)
        logging.warning("afterwards")
        assert log_terminal.getvalue() == "afterwards\n"
    finally:
        root.handlers[:] = before


def test_a_blocked_terminal_does_not_block_updates() -> None:
    terminal = BlockedTerminal()
    sink = sink_on(terminal)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            await until(terminal.reached.is_set)
            for _ in range(1000):
                sink.offer(heard())
            sink.close()

    asyncio.run(main())
    assert len(sink.state.sources["kitchen"].past) > 0
    terminal.released.set()


def test_a_closed_terminal_ends_only_the_drawing(caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_on(LostTerminal())

    async def main() -> None:
        running = asyncio.create_task(sink.run())
        await until(lambda: "dashboard stopped" in caplog.text)
        sink.offer(heard())
        await asyncio.sleep(0)
        assert not running.done()
        assert lost == ["lost"]
        sink.close()
        await running

    lost: list[str] = []
    sink.on_lost = lambda: lost.append("lost")
    asyncio.run(main())


def test_an_exception_in_drawing_is_raised() -> None:
    def broken() -> datetime:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await sink_on(Terminal(), broken).run()

    asyncio.run(main())


def test_cancellation_stops_the_drawing() -> None:
    terminal = Terminal()

    async def main() -> None:
        running = asyncio.create_task(sink_on(terminal).run())
        await until(lambda: ENTER_ALTERNATE_SCREEN in terminal.getvalue())
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()
        await until(lambda: LEAVE_ALTERNATE_SCREEN in terminal.getvalue())

    asyncio.run(main())


def test_a_terminal_without_unicode() -> None:
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    sink = sink_on(terminal)
    sink.offer(heard())

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sink.run())
            await until(lambda: b"dog barking" in raw.getvalue())
            sink.close()

    asyncio.run(main())
    assert b"====" in raw.getvalue()


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp437", "euc_jp", "gb18030"]))
def test_characters_that_an_encoding_lacks_are_replaced_cell_by_cell(text: str, encoding: str) -> None:
    line = one_line(text)
    shown = encodable(line, encoding)
    shown.encode(encoding)
    assert cell_len(shown) == cell_len(line)


def test_the_svg_loads_nothing_from_the_network(tmp_path: Path) -> None:
    sink = sink_on(Terminal())
    sink.offer(heard())
    export_svg(sink.state, tmp_path / "picture.svg", now=NOW)
    picture = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "dog" in picture
    assert "@font-face" not in picture
    assert "url(http" not in picture
