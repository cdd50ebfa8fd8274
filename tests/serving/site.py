"""Where a test finds a server."""

from __future__ import annotations

import socket
from dataclasses import dataclass

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Site:
    """A server that is running. `pid` is the process that serves, where it is not this one."""

    host: str
    port: int
    pid: int | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def connect(self, timeout_s: float = TIMEOUT_S) -> socket.socket:
        """A connection, for bytes that no client would send."""
        return socket.create_connection((self.host, self.port), timeout_s)
