"""Calls of `ociserver_objects` for asyncio, its errors as clients see them, and whether the bucket answers.

A call that fails is tried again for some time. Any call may fail, or wait. After that, a request of another connection
reads the marker, which each node may. If that fails too, requests of clients are refused at once when they begin to use
the bucket (`Calls.check`), so that they do not wait in vain, and the marker is read again and again until it can be.
What has begun goes on: the bucket may answer before its tries end.

So a slow part refuses nobody else. Nor does a refused write, if the credentials can still read: then the node serves
what it has, and another one could do no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

from ociserver.backlog import call_threadsafe
from ociserver.errors import OCIError
from ociserver.store.errors import unavailable
from ociserver.store.objects.arrivals import Arrivals
from ociserver.store.objects.settings import ObjectSettings
from ociserver_objects import Bucket, Denied, ObjectError, Reading, Unavailable

__all__ = ["MARKER", "Calls", "ask"]

MARKER: Final = "ociserver"
"""An object that each registry has in its bucket: it shows that the bucket, and the prefix, are the right ones."""

SLOW_S: Final = 5.0
"""Seconds that a call may take before somebody asks whether the bucket answers at all."""

PROBE_S: Final = 2.0
"""Seconds between two tries to reach a bucket that does not answer."""

PROBE_WAIT_S: Final = 5.0
"""Seconds in which it must answer such a try."""

PROBE_RETRY_S: Final = 1.0
"""Seconds for which such a try is repeated after an error, which may be that of one server of many."""

_UNREACHABLE: Final = "the registry's bucket cannot be reached"
_REFUSES: Final = "the registry's bucket refuses the registry"
_ADVICE: Final = {_UNREACHABLE: "retry later", _REFUSES: "its operator has to check the credentials"}

_log = logging.getLogger("ociserver")


class Calls:
    """Calls a bucket, and knows whether it can be reached.

    Args:
        settings: which bucket.
    """

    def __init__(self, settings: ObjectSettings) -> None:
        self.bucket: Final = Bucket(
            settings.url, settings.options, public_endpoint=settings.public_endpoint, retry_s=settings.retry_s
        )
        self.unavailable: str | None = None
        """Why the bucket cannot be used, as a text for people; None if, as far as is known, it can."""
        self._arrivals = Arrivals(self.bucket)
        self._settings = settings
        self._watching: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raises OCIError (503) if it is known that the bucket cannot be used."""
        if self.unavailable is not None:
            raise _refusal(self.unavailable)

    async def __call__(self, method: Callable[..., None], *arguments: Any) -> Any:
        """Call a method that reports its end to a callback, and wait for it.

        Raises:
            OCIError: 503 if the bucket refuses the credentials, or cannot be reached.
            ObjectError: the bucket refuses what was asked; NotFound if the multipart upload does not exist.
        """
        with self._watched():
            return await ask(method, *arguments)

    async def next(self, reading: Reading) -> bytes:
        """The next piece of a reading of the bucket; b"" at its end.

        Raises:
            OCIError, ObjectError: as for a call.
        """
        with self._watched():
            return await self._arrivals.next(reading)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        timer = asyncio.get_running_loop().call_later(SLOW_S, self._watch)
        try:
            yield
        except ObjectError as error:
            known = self.known(error)
            if known is None:
                raise
            raise known from error
        finally:
            timer.cancel()

    def known(self, error: ObjectError) -> OCIError | None:
        """What a client gets for an error; None if this depends on what was asked."""
        reason = _reason(error)
        if reason is None:
            return None
        _log.error("the bucket: %s", error)
        self._watch()
        return _refusal(reason)

    def stop(self) -> None:
        """Look after the bucket no more, until the next call that fails or is slow."""
        if self._watching is not None:
            self._watching.cancel()
        self.unavailable = None

    async def is_right(self) -> bool:
        """Whether the bucket is there, and is that of a registry."""
        return await self(self.bucket.size, MARKER) is not None

    def _watch(self) -> None:
        """Begin to look after the bucket, unless somebody does."""
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._ask_until_it_answers())

    async def _ask_until_it_answers(self) -> None:
        while (error := await self._ask()) is not None:
            if self.unavailable is None:
                _log.error("the bucket cannot be used: %s", error)
            self.unavailable = _reason(error) or _UNREACHABLE
            await asyncio.sleep(PROBE_S)
        if self.unavailable is not None:
            self.unavailable = None
            _log.warning("the bucket answers again")

    async def _ask(self) -> ObjectError | None:
        """Read the marker. Returns why that has failed."""
        try:
            await ask(self._probe.size, MARKER)
        except ObjectError as error:
            return error
        return None

    @cached_property
    def _probe(self) -> Bucket:
        """The bucket over connections of its own, for an answer that comes soon or not at all."""
        settings = self._settings
        return Bucket(settings.url, settings.options, retry_s=PROBE_RETRY_S, timeout_s=PROBE_WAIT_S)


def _reason(error: ObjectError) -> str | None:
    """Why the bucket cannot be used; None if the error depends on what was asked."""
    if isinstance(error, Denied):
        return _REFUSES
    return _UNREACHABLE if isinstance(error, Unavailable) else None


def _refusal(reason: str) -> OCIError:
    return unavailable(f"{reason}: {_ADVICE[reason]}")


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
