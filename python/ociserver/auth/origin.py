"""Where clients reach this server: the URL of the token endpoint, and the address of the client behind a proxy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ociserver.types import Scope

__all__ = ["Origin"]

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
"""A host with a port (RFC 3986, 3.2.2). Nothing else may get into a header of the answer."""


_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""`[IPv6]`, `[IPv6]:port` or `IPv4:port`."""


class Origin:
    """Reads the origin of requests, from their own headers or from those of proxies that are trusted.

    Args:
        trusted_proxies: networks of proxies, such as `10.0.0.0/8`, whose X-Forwarded-For, X-Forwarded-Proto and
            X-Forwarded-Host are believed. Those of all other clients are ignored.

    Raises:
        ValueError: one of them is not a network.
    """

    def __init__(self, trusted_proxies: Sequence[str] = ()) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]

    def client(self, scope: Scope) -> str:
        """The address of the client; "" if the server does not report it.

        Behind trusted proxies it is the last address in X-Forwarded-For that is not one of theirs.
        """
        client = scope.get("client")
        address = client[0] if client else ""
        if not self._is_trusted(address):
            return address
        for value in reversed(_values(scope, b"x-forwarded-for")):
            forwarded = _address(value)
            if forwarded is None:
                # Not an address, so nothing before it can be believed.
                break
            address = str(forwarded)
            if not self._is_trusted(address):
                break
        return address

    def url(self, scope: Scope) -> str:
        """Scheme and host of this server as the client sees them, without a slash at the end."""
        client = scope.get("client")
        is_trusted = self._is_trusted(client[0] if client else "")
        scheme, host = scope.get("scheme", "http"), _first(scope, b"host")
        if is_trusted:
            # The nearest proxy writes the last value.
            if (forwarded := _last(scope, b"x-forwarded-proto")) in ("http", "https"):
                scheme = forwarded
            host = _last(scope, b"x-forwarded-host") or host
        if not _HOST.fullmatch(host):
            server = scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}"

    def _is_trusted(self, address: str) -> bool:
        if not self._trusted:
            return False
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, which may have a port, as some proxies write it. None: it is no address."""
    if found := _WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both versions of IP reports IPv4 addresses so.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _values(scope: Scope, name: bytes) -> list[str]:
    joined = b",".join(value for header, value in scope["headers"] if header == name)
    return [part for value in joined.decode("latin-1").split(",") if (part := value.strip())]


def _first(scope: Scope, name: bytes) -> str:
    return next(iter(_values(scope, name)), "")


def _last(scope: Scope, name: bytes) -> str:
    return next(reversed(_values(scope, name)), "")
