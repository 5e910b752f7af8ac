"""Test servers in front of a broker, or instead of one; they leave no connection open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Change = Callable[[bytes], bytes | None]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int]:
    """The port of a server that handles each connection with `handler`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        await close(writer)

    server = await asyncio.start_server(serve, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=2)  # those whose client is gone are about to close
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # closing takes the event loop a few turns


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait for it."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def in_front_of(
    port: int,
    *,
    on_connack: Change | None = None,
    forbidden: bytes = b"",
    goodbye: bytes = b"",
    cut_after: bytes = b"",
    answer_seconds: float = 0.0,
) -> Handler:
    """A proxy for the broker on `port`.

    It changes CONNACK by `on_connack`, and closes the connection with `goodbye` instead of passing on `forbidden`.
    Once the bytes `cut_after` have reached the broker for the first time, it drops the answer and closes the
    connection. Answers take `answer_seconds`.
    """
    cuts: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection("127.0.0.1", port)

        async def back() -> None:
            if on_connack is not None:
                head = await from_broker.readexactly(2)
                writer.write(on_connack(head + await from_broker.readexactly(head[1])) or b"")
            while data := await from_broker.read(1 << 16):
                await asyncio.sleep(answer_seconds)
                writer.write(data)
                await writer.drain()

        backwards = asyncio.create_task(back())
        try:
            while data := await reader.read(1 << 16):
                if forbidden and forbidden in data:
                    writer.write(goodbye)
                    await writer.drain()
                    return
                cut = bool(cut_after) and not cuts and cut_after in data
                if cut:
                    cuts.append(data)
                    backwards.cancel()
                to_broker.write(data)
                await to_broker.drain()
                if cut:
                    await asyncio.sleep(0.2)  # for the broker to handle it before it notices the end
                    return
        finally:
            backwards.cancel()
            await asyncio.gather(backwards, return_exceptions=True)
            await close(to_broker)

    return handler


def limiting_packets(most_bytes: int) -> Change:
    """Puts a Maximum Packet Size into the CONNACK of MQTT 5."""

    def change(connack: bytes) -> bytes:
        properties = b"\x27" + most_bytes.to_bytes(4, "big") + connack[5:]
        return bytes([connack[0], 3 + len(properties)]) + connack[2:4] + bytes([len(properties)]) + properties

    return change
