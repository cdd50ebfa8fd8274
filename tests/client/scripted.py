"""A server that sends scripted answers, byte by byte, valid or not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived. The names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Args:
        status: None for no answer at all.
        headers: Content-Length is added if it is missing; "" omits a header.
        body: the bytes of it that are sent.
        take: bytes of the request's body to read before the answer; None for all.
        cut: close the connection after the answer.
        delay_s: seconds to wait before the answer.
        raw: the bytes of the answer, instead of the arguments above; the connection closes after them.
    """

    status: int | None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = field(default_factory=dict)
    body: bytes = b""
    take: int | None = None
    cut: bool = False
    delay_s: float = 0
    raw: bytes | None = None


class Scripted:
    """The requests so far, in order, and the answers to come, in order."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.replies: list[Reply] = []
        # The answer when `replies` is empty.
        self.otherwise: Callable[[Seen], Reply] = lambda _: Reply(418)
        # The names of the servers that got requests, in order, if several share the list.
        self.journal: list[Scripted] = []
        self._writers: set[asyncio.StreamWriter] = set()

    def will(self, *replies: Reply) -> None:
        self.replies += replies

    @property
    def lines(self) -> list[str]:
        """The requests in short form, `GET /v2/...`."""
        return [f"{seen.method} {seen.target}" for seen in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        # An answer may depend on the whole request. A prepared reply says how much of the request to read.
        body = await _body(reader, headers, self.replies[0].take if self.replies else None)
        seen = Seen(method, target, headers, body)
        # Without an answer, the test sees the request in `seen`, and the client gets an error.
        reply = self.replies.pop(0) if self.replies else self.otherwise(seen)
        self.seen.append(seen)
        self.journal.append(self)
        await asyncio.sleep(reply.delay_s)
        if reply.raw is not None:
            writer.write(reply.raw)
            await writer.drain()
        if reply.status is None or reply.raw is not None:
            return False
        pairs = list(reply.headers.items()) if isinstance(reply.headers, Mapping) else list(reply.headers)
        if not any(name.lower() == "content-length" for name, _ in pairs):
            pairs.append(("Content-Length", str(len(reply.body))))
        lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in pairs if value)]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else reply.body))
        await writer.drain()
        return not reply.cut


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str], take: int | None) -> bytes:
    body = b""
    if "content-length" in headers:
        length = int(headers["content-length"])
        return await reader.readexactly(length if take is None else min(take, length))
    while headers.get("transfer-encoding") == "chunked" and (take is None or len(body) < take):
        size = int(await reader.readline(), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            break
    return body


@asynccontextmanager
async def scripted(tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """Serve on a separate port until the block ends. Another port is another host in HTTP."""
    script = Scripted()
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=tls)
    host, port = server.sockets[0].getsockname()
    script.url = f"https://localhost:{port}" if tls else f"http://{host}:{port}"
    try:
        yield script
    finally:
        server.close()
        script.close()
