"""The connections of a client."""

from __future__ import annotations

import random
from collections.abc import Mapping
from http.client import HTTPConnection
from types import TracebackType
from typing import Self

from tests.support.http import Answer
from tests.support.server import Server

TIMEOUT_S = 60.0


class Connections:
    """Two persistent connections, used at random, so that one worker continues what the other has started."""

    def __init__(self, server: Server, dice: random.Random) -> None:
        self._dice = dice
        self._connections = [HTTPConnection(server.host, server.port, timeout=TIMEOUT_S) for _ in range(2)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()

    def request(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request and read the whole answer. Raises if the answer ends early."""
        connection = self._dice.choice(self._connections)
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
