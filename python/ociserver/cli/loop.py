"""The event loop of `serve`: uvloop's, past which granian's thread answers what needs no waiting.

granian makes the scope of a request in a thread of its own, which hands the request to the loop with
`call_soon_threadsafe`. For a small read that costs more than the read: a task, waking the loop, a turn of the GIL.
So what the handler can answer at once is answered in that thread, and the loop never hears of it.
It ends the futures of a body's pieces there too, and what is to be called then and can be called there is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, TypeVarTuple

import uvloop

from ociserver.handler.callbacks import ThreadSafeCallback
from ociserver.types import Scope, Send

__all__ = ["AnswerNowait", "Loop"]

AnswerNowait = Callable[[Scope, Send], bool]
"""`Handler.answer_nowait`."""

Arguments = TypeVarTuple("Arguments")

_log = logging.getLogger("ociserver.serve")

_WATCHER: Final = "CallbackWatcherHTTP"
"""The class in which granian keeps scope and protocol of a request; it hands over (coroutine, watcher)."""


class Loop(uvloop.Loop):
    """Asks `answer_nowait`, where it is set, before it takes a request of granian's."""

    answer_nowait: AnswerNowait | None = None

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        if isinstance(callback, ThreadSafeCallback):
            callback(*args)
            return None  # type: ignore[return-value]  # nothing that granian could cancel
        given: tuple[Any, ...] = args
        if self.answer_nowait is not None and len(given) == 2 and type(given[1]).__name__ == _WATCHER:
            request, watcher = given
            try:
                # Its `send` takes a message when it is called, and a whole answer without waiting.
                if self.answer_nowait(watcher.scope, watcher.proto.send):
                    request.close()
                    return None  # type: ignore[return-value]  # likewise
            except Exception:
                # It cannot be raised here: granian would forget the request.
                _log.exception("a request was not answered at once")
        return super().call_soon_threadsafe(callback, *args, context=context)
