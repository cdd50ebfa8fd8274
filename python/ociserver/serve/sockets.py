"""Listening sockets, and in plain words why there are none.

We bind and give the server the result, because granian binds with SO_REUSEPORT: a second server on the
same port would start without a word, and each of the two would get some of the connections.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from typing import Final

from ociserver.cli.errors import CannotServeError

__all__ = ["BACKLOG", "listen", "why_not"]

BACKLOG: Final = 1024
"""Connections that the kernel keeps while the server does not accept them."""

STALLED_TIMEOUT_S: Final = 60
"""A client that takes nothing of what is sent to it for this long is cut off (nginx's send_timeout)."""

LOCALHOST: Final = "localhost"

_TRIES: Final = 10
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_AIRPLAY_PORT: Final = 5000

_Address = tuple[socket.AddressFamily, str]


def listen(host: str, port: int, called: str = "") -> list[socket.socket]:
    """Listen on every address that the host name stands for: `localhost` is 127.0.0.1 and ::1.

    Args:
        host: an address, or a name.
        port: 0 for any free one.
        called: what messages call a host name; by default itself.

    Raises:
        CannotServeError: in words, with what to do.
    """
    called = host if _is_address(host) else called or host
    addresses = _resolve(host, called)
    for _ in range(_TRIES if port == 0 else 1):
        try:
            return _listen_on_all(addresses, port)
        except OSError as error:
            # The port that the system chose for the first address can be taken on the second.
            failure = error
            if error.errno != errno.EADDRINUSE:
                break
    raise CannotServeError(why_not(failure, called, port)) from failure


def _resolve(host: str, called: str) -> list[_Address]:
    if host == LOCALHOST:
        # Whatever /etc/hosts says: clients try both, and one of them must not be somebody else's.
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        quoted = repr(host) if called == host else called
        # Not from the error: Python's may repeat the name.
        raise CannotServeError(
            f"cannot listen on {quoted}: there is no host of that name. --host takes an address of this machine, "
            "such as 127.0.0.1 (only from here), 0.0.0.0 (from everywhere), or a name that stands for one."
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == LOCALHOST
    return True


def _listen_on_all(addresses: list[_Address], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        for number, (family, address) in enumerate(addresses):
            try:
                sockets.append(opened.enter_context(_listen_on(family, address, port)))
            except OSError as error:
                # A machine without IPv6 has no ::1; it is enough that one of several addresses is there.
                is_last = number == len(addresses) - 1
                if error.errno not in _ABSENT or (is_last and not sockets):
                    raise
            else:
                port = sockets[-1].getsockname()[1]
        opened.pop_all()
        return sockets


def _listen_on(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # So that a restart need not wait for connections of the last run to be forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` is every address of both families, as people who write it expect; others are themselves.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        # Accepted connections inherit it: a small answer must not wait for the client's delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Likewise; only the kernel sees how much a client takes.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_TIMEOUT_S * 1000)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def why_not(error: OSError, host: str, port: int) -> str:
    """What went wrong and what to do about it, in one line."""
    what = f"cannot listen on {host} port {port}: "
    if error.errno == errno.EADDRINUSE:
        airplay = sys.platform == "darwin" and port == _AIRPLAY_PORT
        hint = " (on macOS that may be AirPlay Receiver, in the system settings)" if airplay else ""
        return (
            f"{what}another program has that port{hint}. Take another, such as --port {_neighbour(port)}, "
            f"or find the program with: lsof -nP -iTCP:{port} -sTCP:LISTEN"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{what}this user may not. Ports below 1024 need root or CAP_NET_BIND_SERVICE; "
            "take another, such as --port 5000, and let a proxy or a port mapping serve the low one."
        )
    if error.errno in _ABSENT:
        return (
            f"{what}this machine has no such address. --host takes one of its own (`ip address` lists them), "
            "127.0.0.1 (only from here) or 0.0.0.0 (from everywhere)."
        )
    return f"{what}{error.strerror or error}."


def _neighbour(port: int) -> int:
    return port + 1 if port < 65535 else port - 1
