"""Pulls with many clients at once, and measures the duration and the time to the first byte."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import median
from typing import Final

from benches.contents import MEDIA_TYPE
from ociserver._core import LoadOrigin, LoadReport, LoadStep, run_load
from tests.serving.site import Site

CLIENTS: Final = 32

_TIMEOUT_S: Final = 60.0

_ACCEPT: Final = (("Accept", f"{MEDIA_TYPE}, */*"),)
"""distribution sends OCI manifests only to clients that accept them."""


def pull(site: Site, paths: Sequence[str], clients: int = CLIENTS, digests: Sequence[str] = ()) -> float:
    """Let each client get all paths one after another. Return the seconds until the last client has everything.

    Args:
        site: the registry.
        paths: the paths that each client gets.
        clients: the number of clients.
        digests: the digests to compare the contents with. Hashing costs more than everything else here.

    Raises:
        RuntimeError: an answer was an error, did not match its digest, or broke off.
    """
    wanted: Sequence[str | None] = list(digests) or [None] * len(paths)
    steps = [LoadStep("GET", path, digest=digest) for path, digest in zip(paths, wanted, strict=True)]
    return _run(site, [steps] * clients, clients).seconds


def p50(site: Site, paths: Sequence[str], requests: int) -> float:
    """Return the median seconds of a read of one client, which gets the paths one after another.

    Raises:
        RuntimeError: an answer was an error, or broke off.
    """
    return _run(site, [[LoadStep("GET", path)] for path in islice(cycle(paths), requests)], 1).p50_s


def _run(site: Site, operations: Sequence[Sequence[LoadStep]], clients: int) -> LoadReport:
    report = run_load(
        LoadOrigin(site.host, site.port, f"{site.host}:{site.port}", https=False),
        operations,
        clients=clients,
        threads=1,
        seconds=None,
        repeat=False,
        hash=False,
        headers=_ACCEPT,
        progress=lambda begun, ended: None,
    )
    if report.errors or report.count != len(operations):
        raise RuntimeError(f"{report.count} of {len(operations)} succeeded: {report.errors} {report.first_error}")
    return report


def first_bytes(site: Site, path: str, clients: int) -> list[float]:
    """Return the seconds from the request to the first byte of the body for clients that all ask at once."""
    request = f"GET {path} HTTP/1.1\r\nhost: {site.host}:{site.port}\r\n\r\n".encode()
    sockets = [site.connect() for _ in range(clients)]
    try:
        with selectors.DefaultSelector() as selector:
            heads = {}
            for one in sockets:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.settimeout(0)
                selector.register(one, selectors.EVENT_READ)
                heads[one] = bytearray()
            # Connect first, because only the request is measured.
            time.sleep(0.02)
            sent = {}
            for one in sockets:
                sent[one] = time.perf_counter()
                one.send(request)
            return _wait(selector, heads, sent)
    finally:
        for one in sockets:
            one.close()


def middle_and_last(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the longest wait of the clients in milliseconds."""
    return 1e3 * median(times), 1e3 * max(times)


def _wait(
    selector: selectors.BaseSelector, heads: dict[socket.socket, bytearray], sent: dict[socket.socket, float]
) -> list[float]:
    took: list[float] = []
    while heads:
        ready = selector.select(_TIMEOUT_S)
        now = time.perf_counter()
        if not ready:
            raise TimeoutError(f"{len(heads)} clients got no first byte in {_TIMEOUT_S} s")
        for key, _ in ready:
            one = key.fileobj
            assert isinstance(one, socket.socket)
            head = heads[one]
            piece = one.recv(4096)
            head += piece
            end = head.find(b"\r\n\r\n")
            if not piece or (end >= 0 and not head.startswith(b"HTTP/1.1 200 ")):
                raise RuntimeError(f"no blob: {bytes(head[:200])!r}")
            if 0 <= end < len(head) - 4:
                took.append(now - sent[one])
                selector.unregister(one)
                del heads[one]
    return took
