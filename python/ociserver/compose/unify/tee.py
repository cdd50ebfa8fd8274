"""Sends one stream of bytes to several registries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

from ociserver.cancellation import finish
from ociserver.compose.unify.outcomes import BrokenOffError

__all__ = ["tee"]

Result = TypeVar("Result")
Push = Callable[[AsyncIterator[bytes]], Coroutine[Any, Any, Result]]

_END: Final = None


async def tee(chunks: AsyncIterable[bytes], pushes: Sequence[Push[Result]]) -> list[Result | BaseException]:
    """Give all chunks to every push, at the speed of the slowest. One chunk waits for each push.

    If one push fails while the bytes arrive, the others end with `BrokenOffError`, so that no registry keeps a blob
    that the caller does not know of. An error of `chunks` is raised in each push, and then here.
    """
    lanes = [_Lane(push) for push in pushes]
    tasks = [lane.task for lane in lanes]
    end: Exception | None = _END
    raised = False
    try:
        try:
            async for data in chunks:
                if any(lane.failed() for lane in lanes):
                    end = BrokenOffError("another registry refused the blob")
                    break
                for lane in lanes:
                    await lane.put(data)
        except Exception as error:
            end, raised = error, True
        for lane in lanes:
            await lane.put(end)
        outcomes = await finish(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if end and raised:
        raise end
    return outcomes


class _Lane(Generic[Result]):
    """One push, and the chunk that waits for it."""

    def __init__(self, push: Push[Result]) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(maxsize=1)
        self.task = asyncio.ensure_future(push(self._pieces()))
        self.task.add_done_callback(self._make_way)

    def failed(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is not None

    async def put(self, item: bytes | Exception | None) -> None:
        if not self.task.done():
            await self._queue.put(item)

    def _make_way(self, task: asyncio.Future[Result]) -> None:
        # A push may end before the last chunk, if the registry has the blob. Wakes the task that waits to put one.
        while not self._queue.empty():
            self._queue.get_nowait()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (item := await self._queue.get()) is not _END:
            if isinstance(item, Exception):
                raise item
            yield item
