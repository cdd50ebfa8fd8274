"""A request's hold of an upload: a row, which it renews."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from functools import partial
from typing import Final

from ociserver.errors import OCIError
from ociserver.store.objects import rows
from ociserver.store.objects.access import Access

__all__ = ["Hold", "end_later", "until"]

HOLD_S: Final = 15
"""Seconds after which a hold ends that is not renewed, because its process died. It is renewed three times as often."""

AGAIN_S: Final = 0.25
"""Seconds between two tries to end a hold."""


def until(now: int) -> int:
    """When a hold ends that is taken or renewed now."""
    return now + math.ceil(HOLD_S)


async def end_later(access: Access, upload_id: str, holder: str) -> None:
    """End a hold as soon as the database can be reached, or until it has ended by itself."""
    end = time.monotonic() + HOLD_S
    while time.monotonic() < end and not access.is_closed:
        await asyncio.sleep(AGAIN_S)
        with contextlib.suppress(OCIError):
            await access.write(partial(rows.end_hold, upload_id, holder))
            return


class Hold:
    """A hold that was taken, until `end`. It must be made on the event loop.

    Args:
        access: the bucket and the database.
        upload_id: the upload.
        holder: who holds it, which nobody else knows.
    """

    def __init__(self, access: Access, upload_id: str, holder: str) -> None:
        self.holder = holder
        self.is_lost = False
        """Whether the upload has ended, or somebody else holds it, as far as is known."""
        self._access = access
        self._upload_id = upload_id
        self._renewed = time.monotonic()
        self._is_stopped = False
        self._renewing = asyncio.create_task(self._go_on())

    async def check(self) -> None:
        """Raises OCIError (RANGE_INVALID) if somebody else may hold the upload, as after this machine has slept."""
        if not self.is_lost and time.monotonic() - self._renewed > HOLD_S / 2:
            await self._renew()
        if self.is_lost:
            raise OCIError("RANGE_INVALID", "another request is writing to this upload")

    async def _renew(self) -> None:
        begun = time.monotonic()
        renew = partial(rows.renew_hold, self._upload_id, self.holder, until(self._access.now()))
        self.is_lost = not await self._access.write(renew)
        self._renewed = begun

    async def _go_on(self) -> None:
        while not self.is_lost:
            await asyncio.sleep(HOLD_S / 3)
            with contextlib.suppress(OCIError):  # the next try may succeed before it ends
                await self._renew()

    def stop(self) -> bool:
        """Renew it no more. Returns whether it was renewed until now."""
        was_renewed = not self._is_stopped and not self._renewing.done()
        self._is_stopped = True
        self._renewing.cancel()
        return was_renewed

    async def end(self) -> None:
        """Let others hold the upload. A second call does nothing."""
        if self.stop():
            try:
                await self._access.write(partial(rows.end_hold, self._upload_id, self.holder))
            except OCIError:
                self.end_later()

    def end_later(self) -> None:
        """Let others hold the upload as soon as the database can be reached, after `stop`."""
        self._access.in_background(end_later(self._access, self._upload_id, self.holder))
