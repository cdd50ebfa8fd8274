"""Generates HEAD requests. wrk cannot, because it waits for bodies that never come."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from statistics import quantiles

from benches.load import CONNECTIONS, Load, cpu_seconds
from tests.serving.site import Site


def run(site: Site, paths: Sequence[str], seconds: int, headers: Mapping[str, str] | None = None) -> Load:
    """Send HEAD requests for the paths in random order.

    Raises:
        RuntimeError: an answer was not 200, or a connection ended.
    """
    fields = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    requests = [f"HEAD {path} HTTP/1.1\r\nHost: {site.host}\r\n{fields}\r\n".encode() for path in paths]
    connections = [site.connect() for _ in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
    try:
        before, began = cpu_seconds(site.pid), time.perf_counter()
        times = _exchange(selector, connections, requests, began + seconds)
        took, used = time.perf_counter() - began, cpu_seconds(site.pid) - before
    finally:
        selector.close()
        for connection in connections:
            connection.close()
    percentiles = quantiles(times, n=100)
    return Load(len(times), took, percentiles[49] * 1e6, percentiles[98] * 1e6, used)


def _exchange(
    selector: selectors.BaseSelector, connections: Sequence[socket.socket], requests: Sequence[bytes], end: float
) -> list[float]:
    sent: dict[object, float] = {}
    times: list[float] = []
    for connection in connections:
        sent[connection] = time.perf_counter()
        connection.send(random.choice(requests))
    now = 0.0
    while now < end:
        for key, _ in selector.select():
            ready = key.fileobj
            assert isinstance(ready, socket.socket)
            # The headers arrive in one piece, because they are sent in one.
            answer = ready.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\n"):
                raise RuntimeError(f"not an answer with status 200: {answer!r}")
            now = time.perf_counter()
            times.append(now - sent[ready])
            sent[ready] = now
            ready.send(random.choice(requests))
    return times
