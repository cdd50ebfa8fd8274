"""Calls of `ociserver_objects` for asyncio, and its errors as clients see them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from ociserver.backlog import call_threadsafe
from ociserver.errors import OCIError
from ociserver.store.errors import unavailable
from ociserver_objects import Bucket, Denied, ObjectError, Unavailable

__all__ = ["MARKER", "Calls", "ask"]

MARKER: Final = "ociserver"
"""An object that each registry has in its bucket: it shows that the bucket, and the prefix, are the right ones."""

PROBE_S: Final = 2.0
"""Seconds between two tries to reach a bucket that could not be reached."""

_log = logging.getLogger("ociserver")


class Calls:
    """Calls a bucket, and knows whether it can be reached.

    Args:
        bucket: the bucket.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.unavailable: str | None = None
        """Why the bucket cannot be used, as a text for people; None if, as far as is known, it can."""
        self._bucket = bucket
        self._probe: asyncio.Task[None] | None = None

    async def __call__(self, method: Callable[..., None], *arguments: Any) -> Any:
        """Call a method that reports its end to a callback, and wait for it.

        Raises:
            OCIError: 503 if the bucket refuses the credentials, or cannot be reached.
            ObjectError: the bucket refuses what was asked; NotFound if the multipart upload does not exist.
        """
        try:
            return await ask(method, *arguments)
        except ObjectError as error:
            known = self.known(error)
            if known is None:
                raise
            raise known from error

    def known(self, error: ObjectError) -> OCIError | None:
        """What a client gets for an error; None if this depends on what was asked."""
        if isinstance(error, Denied):
            message = "the registry's bucket refuses the registry: its operator has to check the credentials"
        elif isinstance(error, Unavailable):
            message = "the registry's bucket cannot be reached: retry later"
        else:
            return None
        _log.error("the bucket: %s", error)
        self.unavailable = message.partition(":")[0]
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._wait_for_it())
        return unavailable(message)

    def stop(self) -> None:
        """Probe no more."""
        if self._probe is not None:
            self._probe.cancel()

    async def is_right(self) -> bool:
        """Whether the bucket is there, and is that of a registry."""
        return await self(self._bucket.size, MARKER) is not None

    async def _wait_for_it(self) -> None:
        while self.unavailable is not None:
            await asyncio.sleep(PROBE_S)
            with contextlib.suppress(OCIError, ObjectError):
                await self.is_right()
                self.unavailable = None
        _log.warning("the bucket answers again")


async def ask(method: Callable[..., None], *arguments: Any) -> Any:
    """Call a method that reports its end to a callback, and wait for it.

    Raises:
        ObjectError: as the method says.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def end(result: Any, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    method(*arguments, lambda result, error: call_threadsafe(loop, lambda: end(result, error)))
    return await ended
