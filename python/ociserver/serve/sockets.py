"""Listening sockets, and messages that explain why there are none.

The server binds them itself and gives them to granian; see `GranianServer`.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from typing import Final

from ociserver.serve.errors import CannotServeError
from ociserver.units import MAX_PORT

__all__ = ["BACKLOG", "STALLED_TIMEOUT_S", "listen", "why_not"]

BACKLOG: Final = 1024
"""Connections that the kernel keeps until the server accepts them."""

STALLED_TIMEOUT_S: Final = 60
"""A client that takes nothing of what is sent to it for this long is cut off, as by nginx's send_timeout."""

LOCALHOST: Final = "localhost"

_TRIES: Final = 10
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_AIRPLAY_PORT: Final = 5000

_Address = tuple[socket.AddressFamily, str]


def listen(
    host: str, port: int, called: str = "", *, stalled_timeout_s: int = STALLED_TIMEOUT_S
) -> list[socket.socket]:
    """Listen on every address that the host name stands for: `localhost` is 127.0.0.1 and ::1.

    Args:
        host: an address, or a name.
        port: 0 for any free one.
        called: what messages show instead of a host name; the name itself by default.
        stalled_timeout_s: seconds after which a client that takes nothing is cut off (Linux).

    Raises:
        CannotServeError: no address can be listened on, or not all of them.
    """
    called = host if _is_address(host) else called or host
    addresses = _resolve(host, called)
    for _ in range(_TRIES if port == 0 else 1):
        try:
            return _listen_on_all(addresses, port, stalled_timeout_s)
        except OSError as error:
            # The port that the system chose for the first address can be in use on the second.
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
    raise CannotServeError(why_not(failure, called, port)) from failure


def _resolve(host: str, called: str) -> list[_Address]:
    if host == LOCALHOST:
        # Whatever /etc/hosts says: clients try both addresses, and neither may belong to another program.
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        quoted = repr(host) if called == host else called
        # Without Python's message, which may repeat the name.
        raise CannotServeError(
            f"cannot listen on {quoted}: the host name cannot be resolved. Set --host to an address of this machine, "
            "to 127.0.0.1 (this machine only), to 0.0.0.0 (every IPv4 address), or to a name that resolves to one."
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == LOCALHOST
    return True


def _listen_on_all(addresses: list[_Address], port: int, stalled_timeout_s: int) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        for number, (family, address) in enumerate(addresses):
            try:
                sockets.append(opened.enter_context(_listen_on(family, address, port, stalled_timeout_s)))
            except OSError as error:
                # A machine without IPv6 has no ::1. It is enough if one of several addresses exists.
                is_last = number == len(addresses) - 1
                if error.errno not in _ABSENT or (is_last and not sockets):
                    raise
            else:
                port = sockets[-1].getsockname()[1]
        opened.pop_all()
        return sockets


def _listen_on(family: socket.AddressFamily, address: str, port: int, stalled_timeout_s: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restart need not wait until the kernel has forgotten the connections of the last run.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` is every address of both families, as people expect; another address is only itself.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        # Accepted connections inherit this and the next: a small response must not wait for the client's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Only the kernel sees how much a client takes.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_timeout_s * 1000)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def why_not(error: OSError, host: str, port: int) -> str:
    """Why nothing listens on this host and port, and what to do, in one line."""
    what = f"cannot listen on {host} port {port}: "
    if error.errno == errno.EADDRINUSE:
        airplay = sys.platform == "darwin" and port == _AIRPLAY_PORT
        hint = " (on macOS this can be AirPlay Receiver; see the system settings)" if airplay else ""
        return (
            f"{what}another program uses this port{hint}. Choose another port, such as --port {_neighbour(port)}, "
            f"or find the program: lsof -nP -iTCP:{port} -sTCP:LISTEN"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{what}permission denied. Ports below 1024 require root or CAP_NET_BIND_SERVICE. Choose another port, "
            "such as --port 5000, and forward the low port to it by a proxy or a port mapping."
        )
    if error.errno in _ABSENT:
        return (
            f"{what}this machine does not have this address. Set --host to one of its addresses (`ip address` lists "
            "them), to 127.0.0.1 (this machine only) or to 0.0.0.0 (every IPv4 address)."
        )
    return f"{what}{error.strerror or error}."


def _neighbour(port: int) -> int:
    return port + 1 if port < MAX_PORT else port - 1
