"""A small HTTP/1.1 client on one persistent connection. http.client would cost as much as the measured server."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.serving.site import Site

_RECEIVE_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and headers of an answer, and its body unless it was only counted."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next(value for key, value in self.headers if key == name)


class Connection:
    """A connection with one request at a time. Every answer must have a Content-Length."""

    def __init__(self, site: Site) -> None:
        self._host = f"{site.host}:{site.port}"
        self._socket = site.connect()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(_RECEIVE_SIZE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        """Send a request and read the complete answer."""
        self.send_head(method, target, len(body), headers)
        if body:
            self._socket.sendall(body)
        return self.answer(method)

    def send_head(self, method: str, target: str, length: int, headers: dict[str, str] | None = None) -> None:
        fields = {"host": self._host, **(headers or {})}
        if length or method in {"POST", "PUT", "PATCH"}:
            fields["content-length"] = str(length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def answer(self, method: str, *, keep: bool = True) -> Answer:
        """Read an answer. Without `keep` the body is counted and dropped.

        Raises:
            ConnectionError: the answer ended early.
        """
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive(65536)
        lines = received[:end].decode("latin-1").split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines[1:])]
        status = int(lines[0].split()[1])
        answer = Answer(status, headers, b"")
        left = 0 if method == "HEAD" or status in {204, 304} else int(answer.header("content-length"))
        body = received[end + 4 :]
        left -= len(body)
        while left > 0:
            if keep:
                piece = self._receive(left)
                body += piece
                left -= len(piece)
            else:
                left -= self._count(left)
        return Answer(status, headers, bytes(body))

    def _receive(self, size: int) -> bytes:
        piece = self._socket.recv(size)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece

    def _count(self, size: int) -> int:
        count = self._socket.recv_into(self._buffer, min(size, len(self._buffer)))
        if not count:
            raise ConnectionError("the server closed the connection")
        return count
