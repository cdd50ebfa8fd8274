"""SIGHUP: the configuration is read again, and takes effect for new requests.

Stores stay as they are, and open. The backends in front of them, and the options of the handler, are made again. If the
configuration is wrong, the reason is logged and nothing changes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ociserver.handler import Handler
from ociserver.serve.errors import CannotServeError
from ociserver.serve.replaceable import Replaceable, UnderWay

__all__ = ["Reload"]

_log = logging.getLogger("ociserver.serve")

_RELOADED: Final = "the configuration was reloaded"
_NOT_RELOADED: Final = "the configuration was not reloaded, and nothing has changed: %s"


class Reload:
    """Replaces the handler by one of the current configuration.

    Args:
        read: reads the configuration and makes a handler, not yet open. Raises CannotServeError.
        is_reported: whether to log that the configuration was reloaded. Of several processes, only the parent does.
    """

    def __init__(self, read: Callable[[], Handler], *, is_reported: bool) -> None:
        self._read = read
        self._is_reported = is_reported

    def check(self) -> bool:
        """Whether the configuration can be used. Logs the result, for workers that then reload it."""
        if self._read_or_log() is None:
            return False
        _log.info(_RELOADED)
        return True

    async def replace(self, served: Replaceable, under_way: UnderWay) -> None:
        """Read the configuration, and serve new requests with it. A failure is logged and changes nothing.

        Args:
            served: the application.
            under_way: see `Replaceable.replace`.
        """
        # In a thread, so that requests are served meanwhile.
        handler = await asyncio.to_thread(self._read_or_log)
        if handler is None:
            return
        try:
            await served.replace(handler, under_way)
        except Exception:
            _log.exception(_NOT_RELOADED, "the registry that it describes could not be opened")
            return
        if self._is_reported:
            _log.info(_RELOADED)

    def _read_or_log(self) -> Handler | None:
        try:
            return self._read()
        except CannotServeError as error:
            _log.error(_NOT_RELOADED, error)
            return None
