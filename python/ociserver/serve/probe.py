"""Asks the server itself whether it is ready, over its own sockets, as a client would, including TLS.

A server that demands certificates of clients cannot be asked: it has no certificate for itself. It must refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final

from ociserver.serve.asking import REFUSED
from ociserver.serve.errors import CannotServeError
from ociserver.serve.health import READY, Readiness

__all__ = ["wait_until_ready", "wait_until_ready_and_refusing"]

INTERVAL_S: Final = 0.02

_REQUEST: Final = f"GET {READY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


async def wait_until_ready(listeners: list[tuple[socket.AddressFamily, str, int]], *, tls: bool) -> None:
    """Return when each of these addresses answers /readyz with 200."""
    for family, host, port in listeners:
        # No event tells: the server starts to accept in threads of its own.
        while not await _is_ready(family, host, port, tls=tls):  # noqa: ASYNC110
            await asyncio.sleep(INTERVAL_S)


async def wait_until_ready_and_refusing(
    listeners: list[tuple[socket.AddressFamily, str, int]], readiness: Readiness
) -> None:
    """Return when the server is ready, and each of these addresses refuses a client without a certificate.

    Raises:
        CannotServeError: one of them accepts such a client.
    """
    for family, host, port in listeners:
        while readiness.why_not() or not await _refuses(family, host, port):  # noqa: ASYNC110
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


async def _refuses(family: socket.AddressFamily, host: str, port: int) -> bool:
    context = _unverified()
    # In TLS 1.3 a client completes the handshake before the server has seen that there is no certificate.
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        _, writer = await asyncio.open_connection(_reachable(host), port, family=family, ssl=context)
    except ssl.SSLEOFError:
        return False
    except ssl.SSLError as error:
        if (error.reason or "").endswith(REFUSED):
            return True
        raise CannotServeError(
            f"whether {host} port {port} refuses clients without a certificate cannot be found out: {error}"
        ) from error
    except OSError:
        return False
    writer.transport.abort()
    raise CannotServeError(f"{host} port {port} accepts clients without a certificate, although it must refuse them")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def _unverified() -> ssl.SSLContext:
    # This is the server's own socket, and the certificate may be for a name other than this address.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
