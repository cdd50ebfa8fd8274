"""Asks the server itself whether it is ready, over its own sockets, as a client would, including TLS."""

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
        # No event tells: the server starts to accept in threads of its own.
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
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _unverified() -> ssl.SSLContext:
    # This is the server's own socket, and the certificate may be for a name other than this address.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
