"""A bad network in front of a server: slow, cut, hanging or down. toxiproxy does it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, Literal

from tests.support.process import Process
from tests.support.server import free_port
from tests.support.tools import require_tool

__all__ = ["Direction", "Toxic", "toxic"]

Direction = Literal["upstream", "downstream"]
"""Towards the server, or towards the client."""

_PROXY: Final = "/proxies/server"


class Toxic:
    """The proxy in front of the server. Each method makes the network bad until its block ends."""

    def __init__(self, port: int, api: int) -> None:
        self.port = port
        self._api = api

    @contextmanager
    def latency(self, seconds: float, *, jitter_s: float = 0, direction: Direction = "downstream") -> Iterator[None]:
        """Delay all bytes, and not more than that: a stream is as fast as before."""
        with self._poisoned("latency", direction, latency=_ms(seconds), jitter=_ms(jitter_s)):
            yield

    @contextmanager
    def bandwidth(self, bytes_per_s: int, *, direction: Direction = "downstream") -> Iterator[None]:
        """Let each connection have that many bytes per second. toxiproxy counts in KB."""
        with self._poisoned("bandwidth", direction, rate=max(1, bytes_per_s // 1000)):
            yield

    @contextmanager
    def cut(self, after: int, *, direction: Direction = "downstream") -> Iterator[None]:
        """Close each connection after that many bytes. Those that are open count from now on."""
        with self._poisoned("limit_data", direction, bytes=after):
            yield

    @contextmanager
    def reset(self, after_s: float = 0, *, direction: Direction = "downstream") -> Iterator[None]:
        """Reset each connection (RST) after that time."""
        with self._poisoned("reset_peer", direction, timeout=_ms(after_s)):
            yield

    @contextmanager
    def hanging(self, *, direction: Direction = "downstream") -> Iterator[None]:
        """Accept connections, and let no byte pass."""
        with self._poisoned("timeout", direction, timeout=0):
            yield

    @contextmanager
    def slow_close(self, seconds: float, *, direction: Direction = "downstream") -> Iterator[None]:
        """Pass on the end of a connection only after that time."""
        with self._poisoned("slow_close", direction, delay=_ms(seconds)):
            yield

    @contextmanager
    def down(self) -> Iterator[None]:
        """Close all connections, and refuse new ones."""
        self._call("POST", _PROXY, {"enabled": False})
        try:
            yield
        finally:
            self._call("POST", _PROXY, {"enabled": True})

    @contextmanager
    def _poisoned(self, kind: str, direction: Direction, **attributes: int) -> Iterator[None]:
        name = f"{kind}-{uuid.uuid4().hex}"
        toxic = {"name": name, "type": kind, "stream": direction, "attributes": attributes}
        self._call("POST", f"{_PROXY}/toxics", toxic)
        try:
            yield
        finally:
            self._call("DELETE", f"{_PROXY}/toxics/{name}")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        connection = HTTPConnection("127.0.0.1", self._api, timeout=30)
        try:
            connection.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"toxiproxy refuses {method} {path}: {answer.status} {text}")


@contextmanager
def toxic(upstream: int, folder: Path) -> Iterator[Toxic]:
    """Run toxiproxy in front of a port of 127.0.0.1 until the block ends. Its log is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    api, port = free_port(), free_port()
    command = [str(require_tool("toxiproxy")), "-host", "127.0.0.1", "-port", str(api)]
    with Process(command, api, folder / "toxiproxy.log", {"LOG_LEVEL": "warn"}):
        proxy = Toxic(port, api)
        proxy._call(
            "POST", "/proxies", {"name": "server", "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{upstream}"}
        )
        yield proxy


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
