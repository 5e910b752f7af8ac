"""What a source or a stream gives, collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from clapstream.audio.block import SourceItem


def first_items(items: AsyncGenerator[SourceItem, None], count: int) -> list[SourceItem]:
    """The first so many items, or all if there are fewer; it is closed afterwards."""

    async def collect() -> list[SourceItem]:
        found: list[SourceItem] = []
        async with aclosing(items) as stream:
            async for item in stream:
                found.append(item)
                if len(found) == count:
                    break
        return found

    return asyncio.run(collect())
