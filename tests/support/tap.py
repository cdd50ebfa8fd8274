"""A TCP relay in front of a server, which records requests and answers."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import Parser

from tests.support.server import Server

__all__ = ["Exchange", "Tap", "tapped"]

_PIECE = 1 << 16
# The head of a message directly follows the body of the message before it.
_REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/\S*) HTTP/1\.1\r\n((?:\S+:.*\r\n)*)\r\n")
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3})\b.*\r\n((?:\S+:.*\r\n)*)\r\n")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request without its body, and the status and headers of its answer."""

    method: str
    target: str
    headers: dict[str, str]
    status: int
    answer: dict[str, str]


@dataclass(slots=True)
class Tap:
    """The address of the relay, and what has passed. Names of headers are in lower case."""

    address: str
    _passed: list[tuple[bytearray, bytearray]] = field(default_factory=list)

    def exchanges(self) -> list[Exchange]:
        """What has passed so far, connection by connection.

        Heads are found by their form, so bodies must not look like heads. Answers must come in the order of the
        requests.
        """
        return [
            Exchange(method.decode(), target.decode(), _headers(asked), int(status), _headers(got))
            for sent, received in self._passed
            for (method, target, asked), (status, got) in zip(
                _REQUEST.findall(bytes(sent)), _ANSWER.findall(bytes(received)), strict=False
            )
        ]

    def connection(self) -> tuple[bytearray, bytearray]:
        """Buffers for both directions of a new connection."""
        self._passed.append((bytearray(), bytearray()))
        return self._passed[-1]


@contextmanager
def tapped(server: Server) -> Iterator[Tap]:
    """Listen until the block ends, and relay every connection to the server."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sent, received = tap.connection()
            with socket.create_connection((server.host, server.port)) as upstream:
                answering = threading.Thread(target=_relay, args=(upstream, self.request, received))
                answering.start()
                _relay(self.request, upstream, sent)
                answering.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        tap = Tap(f"127.0.0.1:{listener.server_address[1]}")
        serving = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield tap
        finally:
            listener.shutdown()
            serving.join()


def _relay(source: socket.socket, target: socket.socket, passed: bytearray) -> None:
    """Copy bytes until one side ends, and then shut down this direction on both."""
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            passed += piece
            target.sendall(piece)
    for end, way in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        with suppress(OSError):
            end.shutdown(way)


def _headers(lines: bytes) -> dict[str, str]:
    return {name.lower(): value for name, value in Parser().parsestr(lines.decode("latin-1")).items()}
