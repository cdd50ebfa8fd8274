"""The event loop of the server: uvloop's, with a way past it for requests that need no waiting.

granian makes the scope of a request in a thread of its own, and hands the request to the loop with
`call_soon_threadsafe`. For a small read that costs more than the read: a task, a wake-up of the loop, a turn of the
GIL. So what the handler can answer at once is answered in granian's thread, and the loop never sees the request. In
that thread granian also completes the futures of a body's pieces, and the loop calls each callback that is a
`ThreadSafeCallback` there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

import uvloop

from ociserver.handler.callbacks import ThreadSafeCallback
from ociserver.serve.granian import is_request
from ociserver.types import Scope, Send

__all__ = ["AnswerNowait", "Loop"]

AnswerNowait = Callable[[Scope, Send], bool]
"""`Handler.answer_nowait`."""

Arguments = TypeVarTuple("Arguments")

_log = logging.getLogger("ociserver.serve")


class Loop(uvloop.Loop):
    """Asks `answer_nowait`, where it is set, before it takes a request from granian."""

    answer_nowait: AnswerNowait | None = None

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        if isinstance(callback, ThreadSafeCallback):
            callback(*args)
            return None  # type: ignore[return-value]  # granian does not use the handle
        if self.answer_nowait is not None and is_request(callback):
            given: tuple[Any, ...] = args
            coroutine, watcher = given
            try:
                if self.answer_nowait(watcher.scope, watcher.proto.send):
                    coroutine.close()
                    return None  # type: ignore[return-value]  # granian does not use the handle
            except Exception:
                # An exception must not leave this method: granian would drop the request.
                _log.exception("a request was not answered outside the event loop, which answers it now")
        return super().call_soon_threadsafe(callback, *args, context=context)
