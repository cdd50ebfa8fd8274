"""ASGI applications that do next to nothing: what a server allows for, which ours is compared with."""

from __future__ import annotations

import json
from typing import Final

from ociserver.types import Message, Receive, Scope, Send

ANSWER_PATH: Final = "/answer"
"""A PUT to it tells `Constant` what to answer."""

CHUNK: Final = bytes(512 * 1024)
"""What `ChunkedUpload` sends again and again."""


class Constant:
    """Answers all but PUT with one fixed answer, without a look at the request. A PUT is read and acknowledged."""

    def __init__(self) -> None:
        self._start: Message = {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}
        self._body: Message = {"type": "http.response.body", "body": b"", "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
        elif scope["method"] == "PUT":
            content = await _read(receive)
            if scope["path"] == ANSWER_PATH:
                self._set(content)
            await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send(self._start)
            await send(self._body)

    def _set(self, content: bytes) -> None:
        answer = json.loads(content)
        headers = [(name.lower().encode(), value.encode()) for name, value in answer["headers"]]
        self._start = {"type": "http.response.start", "status": answer["status"], "headers": headers}
        self._body = {"type": "http.response.body", "body": answer["body"].encode("latin-1"), "more_body": False}


async def drop(scope: Scope, receive: Receive, send: Send) -> None:
    """Receives every body and forgets it."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends as many bytes as the path says, in whole `CHUNK`s."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    size = int(scope["path"][1:] or 0)
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while size > len(CHUNK):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        size -= len(CHUNK)
    await send({"type": "http.response.body", "body": CHUNK[:size], "more_body": False})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _read(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


constant = Constant()
