"""Sends an attempt and reads the answer."""

from __future__ import annotations

import io
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from typing import Any

from tests.hostile.attempt import Attempt, below, raw
from tests.serving.site import Site

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The first answer to an attempt, and the number of answers. Status 0 means no answer."""

    status: int = 0
    code: str = ""
    location: str = ""
    answers: int = 0

    @property
    def is_coded(self) -> bool:
        return 400 <= self.status < 500 and bool(self.code)

    @property
    def is_refused(self) -> bool:
        """Whether the handler or the HTTP server refused it: with a 4xx, or by closing the connection."""
        return not self.status or 400 <= self.status < 500

    def __str__(self) -> str:
        if self.code:
            return f"{self.status} {self.code}"
        # The client may receive the answer, or only the end of the connection: that is a race.
        return "refused by the HTTP server" if self.is_refused else str(self.status)


def send(site: Site, attempt: Attempt) -> Outcome:
    """Send an attempt on a new connection, and read until the server closes it."""
    pieces = attempt.pieces
    if any(b"{upload}" in piece for piece in pieces):
        upload = exchange(site, [raw("POST", below("blobs/uploads/"), body=b"")]).location.encode()
        pieces = tuple(piece.replace(b"{upload}", upload) for piece in pieces)
    return exchange(site, pieces, hangs_up=attempt.hangs_up)


def exchange(site: Site, pieces: tuple[bytes, ...] | list[bytes], *, hangs_up: bool = False) -> Outcome:
    with site.connect(TIMEOUT_S) as connection:
        # The server may answer and close before it has read everything.
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            if hangs_up:
                connection.shutdown(socket.SHUT_WR)
        received = bytearray()
        with suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                received += data
    return _read(bytes(received), pieces[0].split(b" ", 1)[0].decode("latin-1"))


class _Received(io.BytesIO):
    """Received bytes in the form of a socket, for `HTTPResponse`.

    It stays open when the response closes it, because another answer may follow.
    """

    def makefile(self, mode: str) -> _Received:
        return self

    def close(self) -> None:
        pass


def _read(received: bytes, method: str) -> Outcome:
    content = _Received(received)
    first = Outcome()
    answers = 0
    while content.tell() < len(received):
        response = HTTPResponse(content, method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            body = response.read()
        except HTTPException:
            break
        answers += 1
        if answers == 1:
            first = Outcome(response.status, _code(body), response.getheader("location", ""))
    return replace(first, answers=answers)


def _code(body: bytes) -> str:
    try:
        document: Any = json.loads(body)
        code: str = document["errors"][0]["code"]
    except (ValueError, LookupError, TypeError):
        return ""
    return code
