"""A small ASGI server: it sends one request to an application, and records the reply and every message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ociserver.types import Message, Scope


@dataclass(slots=True)
class Reply:
    """What the application sent. `complete` says whether it sent the end of its body."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def __getitem__(self, name: str) -> str:
        """The only header of this name."""
        (value,) = self.all(name)
        return value

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error in the reply."""
        code: str = self.json()["errors"][0]["code"]
        return code

    @property
    def message(self) -> str:
        message: str = self.json()["errors"][0].get("message", "")
        return message


def make_scope(method: str, target: str, headers: Iterable[tuple[str, str]] = (), **fields: Any) -> Scope:
    """The scope of a request, as a server makes it from the request line."""
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        **fields,
    }


def body_messages(pieces: Sequence[bytes]) -> list[Message]:
    """The messages of a body that comes in these pieces."""
    return [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, 1)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]


class Exchange:
    """One request under way. `receive` and `send` are what the application is called with."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.reply = Reply()
        self.received = 0
        self._messages = iter(messages)
        self._finished = asyncio.Event()

    async def receive(self) -> Message:
        for message in self._messages:
            self.received += 1
            return message
        # As servers do: after the body there is nothing until the reply is out or the client has gone.
        await self._finished.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not self.reply.status, "a second reply"
            self.reply.status = message["status"]
            self.reply.headers = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            ]
            assert all(name == name.lower() for name, _ in self.reply.headers), "ASGI wants names in lower case"
        else:
            assert self.reply.status, "a body before the start"
            assert not self.reply.complete, "a body after the end"
            self.reply.pieces.append(message.get("body", b""))
            self.reply.complete = not message.get("more_body", False)
        if self.reply.complete:
            self._finished.set()


async def request(
    application: Any,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Reply:
    """Make one request. A body of bytes has a Content-Length. A body in pieces is sent chunked."""
    sent = list((headers or {}).items())
    if isinstance(body, bytes):
        sent.append(("content-length", str(len(body))))
        body = [body]
    elif body is not None:
        sent.append(("transfer-encoding", "chunked"))
    exchange = Exchange(body_messages(body or []))
    await application(make_scope(method, target, sent, **fields), exchange.receive, exchange.send)
    return exchange.reply
