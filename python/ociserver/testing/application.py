"""The ASGI application of a registry in a test: it records each request, and lets it meet the faults of the test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ociserver.testing.faults import ExpiredToken
from ociserver.testing.injection import answer_with_fault, with_expired_token
from ociserver.testing.plan import Plan
from ociserver.testing.requests import Entry, Recorder
from ociserver.testing.server import CONNECTION

if TYPE_CHECKING:
    from ociserver.types import Message, Receive, Scope, Send

__all__ = ["Answering", "Application"]

Answering = Callable[["Scope", "Receive", "Send"], Awaitable[None]]
"""What answers: a handler, or a profile around one."""


class Application:
    """Records requests, and passes them on, with the faults that are planned for them.

    Args:
        recorder: records the requests.
        plan: the faults.
        registry: answers. It may be replaced between two requests.
    """

    def __init__(self, recorder: Recorder, plan: Plan, registry: Answering) -> None:
        self.recorder = recorder
        self.plan = plan
        self.registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self.recorder.begin(scope)

        async def recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry.answered(message["status"])
            await send(message)

        if entry.request.headers.get("authorization") in self.plan.expired:
            scope = with_expired_token(scope)
        await self._answer(entry, scope, receive, recorded)

    async def _answer(self, entry: Entry, scope: Scope, receive: Receive, send: Send) -> None:
        registry, plan = self.registry, self.plan
        planned = plan.next(entry.request)
        if planned is None:
            await registry(scope, receive, send)
            return
        if isinstance(planned.fault, ExpiredToken):
            plan.expired.add(entry.request.headers["authorization"])
        entry.met(planned.fault)

        def missed() -> None:
            plan.give_back(planned)
            entry.met(None)

        await answer_with_fault(planned.fault, registry, scope, receive, send, scope[CONNECTION], missed)
