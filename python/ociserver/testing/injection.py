"""Makes the answers to requests that meet a fault."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from ociserver.testing.faults import Corrupt, ExpiredToken, NoRanges, Reset, Slow, Status, Truncate

if TYPE_CHECKING:
    from ociserver.testing.faults import Fault
    from ociserver.testing.server import Connection
    from ociserver.types import Message, Receive, Scope, Send

__all__ = ["answer_with_fault", "with_expired_token"]

_CODES: Final = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}

_PARTS_PER_S: Final = 20
"""A slow body is sent in so many parts each second."""

_EXPIRED: Final = b"Bearer expired"

Answering = Callable[["Scope", "Receive", "Send"], Awaitable[None]]


async def answer_with_fault(
    fault: Fault,
    registry: Answering,
    scope: Scope,
    receive: Receive,
    send: Send,
    connection: Connection,
    missed: Callable[[], None],
) -> None:
    """Answer a request, with a fault.

    Args:
        fault: what goes wrong.
        registry: answers.
        scope: of the request.
        receive: the ASGI `receive`.
        send: the ASGI `send`.
        connection: of the request.
        missed: called if the answer cannot show the fault, before its end is sent: it has no body, or too short a one.
    """
    match fault:
        case Status():
            await _refuse(fault, receive, send)
        case Reset() if has_body(scope):
            upload = _CutUpload(fault.after, receive, send, connection, missed)
            await registry(scope, upload.receive, upload.send)
        case Reset():
            await registry(scope, receive, _Cut(fault.after, send, connection.reset, missed, before_start=True))
        case Truncate():
            await registry(scope, receive, _Cut(fault.after, send, connection.close, missed))
        case Slow():
            await registry(scope, receive, _slow(fault, send, connection))
        case Corrupt():
            await registry(scope, receive, _Corrupting(send, missed))
        case ExpiredToken():
            await registry(with_expired_token(scope), receive, send)
        case NoRanges():
            headers = [each for each in scope["headers"] if each[0] not in (b"range", b"if-range")]
            await registry({**scope, "headers": headers}, receive, _without_accept_ranges(send))
        case _:
            raise TypeError(f"{type(fault).__name__} is not a fault of ociserver.testing")


def with_expired_token(scope: Scope) -> Scope:
    """The scope of a request with a token that no registry accepts."""
    others = [each for each in scope["headers"] if each[0] != b"authorization"]
    return {**scope, "headers": [*others, (b"authorization", _EXPIRED)]}


def has_body(scope: Scope) -> bool:
    """Whether a request announces a body that is not empty."""
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _refuse(fault: Status, receive: Receive, send: Send) -> None:
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
    code = fault.code or _CODES.get(fault.status, "UNKNOWN")
    body = json.dumps({"errors": [{"code": code, "message": fault.message}]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if fault.retry_after is not None:
        headers.append((b"retry-after", b"%d" % fault.retry_after))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class _Cut:
    """Passes an answer on, and cuts it off. An answer without a body is passed on as it is.

    Args:
        after: bytes of the body that are passed on; None: half of them.
        send: the ASGI `send`.
        cut: ends the connection.
        missed: called before the end of an answer that was not cut off.
        before_start: whether no bytes of the body means no answer at all.
    """

    def __init__(
        self,
        after: int | None,
        send: Send,
        cut: Callable[[], Awaitable[None]],
        missed: Callable[[], None],
        *,
        before_start: bool = False,
    ) -> None:
        self._is_cut = False
        self._missed = missed
        self._before_start = before_start
        self._left = after
        self._send = send
        self._cut = cut

    async def __call__(self, message: Message) -> None:
        if self._is_cut:
            return
        if message["type"] == "http.response.start":
            if self._left is None:
                self._left = int(dict(message["headers"]).get(b"content-length", b"2")) // 2
            elif self._left == 0 and self._before_start:
                self._is_cut = True
                await self._cut()
                return
            await self._send(message)
            return
        body = message.get("body", b"")
        if self._left is None or len(body) <= self._left:
            self._left = (self._left or 0) - len(body)
            if not message.get("more_body"):
                self._missed()
            await self._send(message)
            return
        self._is_cut = True
        await self._send({"type": "http.response.body", "body": body[: self._left], "more_body": True})
        await self._cut()


class _CutUpload:
    """Passes the body of a request on, and resets the connection in the middle of it."""

    def __init__(
        self, after: int, receive: Receive, send: Send, connection: Connection, missed: Callable[[], None]
    ) -> None:
        self._is_cut = False
        self._left = after
        self._receive = receive
        self._send = send
        self._connection = connection
        self._missed = missed

    async def receive(self) -> Message:
        if self._left == 0:
            await self._end()
            return {"type": "http.disconnect"}
        message = await self._receive()
        body = message.get("body", b"")
        if len(body) <= self._left:
            if message.get("more_body"):
                self._left -= len(body)
            return message
        kept, self._left = body[: self._left], 0
        return {"type": "http.request", "body": kept, "more_body": True}

    async def send(self, message: Message) -> None:
        # The registry may refuse the request before it has read the body.
        if not self._is_cut and self._left == 0:
            await self._end()
        if self._is_cut:
            return
        if message["type"] == "http.response.start":
            self._missed()
        await self._send(message)

    async def _end(self) -> None:
        if not self._is_cut:
            self._is_cut = True
            await self._connection.reset()


class _Corrupting:
    """Changes one byte of a content."""

    def __init__(self, send: Send, missed: Callable[[], None]) -> None:
        self._is_done = False
        self._missed = missed
        self._is_content = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_content = message["status"] in (200, 206)
        elif self._is_content and not self._is_done and (body := message.get("body", b"")):
            self._is_done = True
            message = {**message, "body": bytes([body[0] ^ 0xFF]) + body[1:]}
        if message["type"] == "http.response.body" and not message.get("more_body") and not self._is_done:
            self._missed()
        await self._send(message)


def _slow(fault: Slow, send: Send, connection: Connection) -> Send:
    async def slowly(message: Message) -> None:
        body: bytes = message.get("body", b"")
        if message["type"] == "http.response.start":
            await connection.pause(fault.delay_s)
        elif fault.bytes_per_s is not None:
            size = max(1, int(fault.bytes_per_s / _PARTS_PER_S))
            while len(body) > size:
                await send({"type": "http.response.body", "body": body[:size], "more_body": True})
                if not await connection.pause(size / fault.bytes_per_s):
                    return
                body = body[size:]
            message = {**message, "body": body}
            await connection.pause(len(body) / fault.bytes_per_s)
        await send(message)

    return slowly


def _without_accept_ranges(send: Send) -> Send:
    async def stripped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: list[Any] = [each for each in message["headers"] if each[0] != b"accept-ranges"]
            message = {**message, "headers": headers}
        await send(message)

    return stripped
