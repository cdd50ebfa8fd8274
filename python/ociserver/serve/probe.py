"""Asks the server itself whether it is ready, over its own socket: what a client would see, TLS included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from ociserver.serve.health import READY

__all__ = ["wait_until_ready"]

INTERVAL_S: Final = 0.02

_REQUEST: Final = f"GET {READY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


async def wait_until_ready(listeners: list[tuple[socket.AddressFamily, str, int]], *, tls: bool) -> None:
    """Return when each of these addresses answers /readyz with 200."""
    for family, host, port in listeners:
        # No event tells: what is waited for happens in the server's own threads, and then in a client.
        while not await _is_ready(family, host, port, tls=tls):  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL_S)


async def _is_ready(family: socket.AddressFamily, host: str, port: int, *, tls: bool) -> bool:
    context = _unverified() if tls else None
    try:
        reader, writer = await asyncio.open_connection(_reachable(host), port, family=family, ssl=context)
    except OSError:
        return False
    try:
        writer.write(_REQUEST)
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - this is where not to connect to


def _unverified() -> ssl.SSLContext:
    # It is our own socket, and the certificate names a host that need not be this address.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
