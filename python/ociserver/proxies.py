"""The address of a client behind proxies, and where it reaches this server."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from ociserver.types import Scope

__all__ = ["HOST", "PROXY_HEADERS", "ProxyHeaders", "TrustedProxies", "parse_networks"]

ProxyHeaders = Literal["x-forwarded", "forwarded"]
PROXY_HEADERS: Final[tuple[ProxyHeaders, ...]] = ("x-forwarded", "forwarded")

HOST: Final = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
"""A host with a port (RFC 3986, 3.2.2). Nothing else may get into a header of the answer."""

_NODE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9A-Za-z._-]+)?|([0-9.]+):[0-9A-Za-z._-]+|([0-9A-Fa-f:.]+)")
"""An address, perhaps with a port: `IPv4`, `IPv4:port`, `IPv6`, `[IPv6]`, `[IPv6]:port` (RFC 7239, 6)."""

_PAIR: Final = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=\\]+))')
"""`name=value` in a Forwarded header (RFC 7239, 4). An address without quotes may have colons, as some proxies write
it."""

_ESCAPED: Final = re.compile(r"\\(.)")

_NODE_SIZE: Final = 128
"""The most characters of an address with its port. A longer text is not an address."""

_KNOWN_ADDRESSES: Final = 1024
"""Addresses of which the result of parsing is kept, because the same proxies and clients send many requests."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class _Hop(NamedTuple):
    """What one proxy says about the request that it received. Empty: nothing."""

    client: str
    scheme: str
    host: str


class _Address(NamedTuple):
    """An address without its port, and whether it is that of a trusted proxy."""

    text: str
    trusted: bool


class TrustedProxies:
    """Reads what proxies in front of the server say about a request. All other clients are not believed.

    Each proxy appends the address that it received the request from. So the addresses are read from the last one to the
    first, for as long as they are those of trusted proxies. The first other address is the client. If a value is not an
    address, those before it do not count, and the client is the last proxy that is known.

    Args:
        networks: addresses and networks of the proxies, such as `10.0.0.0/8`.
        headers: the headers that the proxies set: `x-forwarded` for X-Forwarded-For, X-Forwarded-Proto and
            X-Forwarded-Host, of which the last value counts, or `forwarded` for Forwarded (RFC 7239). Only one of the
            two is read: proxies pass on the other one as the client has sent it.

    Raises:
        ValueError: one of them is not a network.
    """

    def __init__(self, networks: Sequence[str], headers: ProxyHeaders = "x-forwarded") -> None:
        self._networks: list[Network] = [ip_network(network) for network in networks]
        self._hops = _x_forwarded if headers == "x-forwarded" else _forwarded
        self._address = lru_cache(_KNOWN_ADDRESSES)(self._parse)

    def resolve(self, scope: Scope) -> Scope:
        """The scope as if the client had sent the request to the outermost proxy: `client`, `scheme` and `host`.

        Args:
            scope: of an HTTP request. It is not changed.
        """
        peer = scope.get("client")
        address = self._address(peer[0]) if peer else None
        if address is None or not address.trusted:
            return scope
        scheme = host = ""
        for hop in self._hops(scope):
            # A trusted proxy has written this hop.
            scheme = hop.scheme if hop.scheme in ("http", "https") else scheme
            host = hop.host if HOST.fullmatch(hop.host) else host
            client = self._address(hop.client)
            if client is None:
                break
            address = client
            if not address.trusted:
                break
        resolved = {**scope, "client": (address.text, 0)}
        if scheme:
            resolved["scheme"] = scheme
        if host:
            others = [header for header in scope["headers"] if header[0] != b"host"]
            resolved["headers"] = [(b"host", host.encode()), *others]
        return resolved

    def _parse(self, text: str) -> _Address | None:
        """An address, perhaps with a port. None: the text is not an address."""
        address = _parse_address(text) if len(text) <= _NODE_SIZE else None
        if address is None:
            return None
        return _Address(str(address), any(address in network for network in self._networks))


def parse_networks(text: str) -> tuple[str, ...]:
    """Networks in a text, with commas between them.

    Raises:
        ValueError: one of them is not a network.
    """
    networks = tuple(part.strip() for part in text.split(",") if part.strip())
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            # Python's own message repeats the text.
            raise ValueError(
                "must be addresses or networks with commas between them, such as 10.0.0.0/8,::1, without host bits"
            ) from None
    return networks


def _parse_address(text: str) -> Address | None:
    """An address without its port. None: the text is not an address."""
    found = _NODE.fullmatch(text)
    if found is None:
        return None
    try:
        address = ip_address(found[1] or found[2] or found[3])
    except ValueError:
        return None
    # A socket for both versions of IP reports IPv4 addresses so.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _x_forwarded(scope: Scope) -> Iterator[_Hop]:
    """The hops of X-Forwarded-For, the last one first. The nearest proxy writes the last scheme and the last host."""
    clients, schemes, hosts = _lines(scope, b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
    scheme = next(_values(schemes), "").lower()
    host = next(_values(hosts), "")
    for client in _values(clients):
        yield _Hop(client, scheme, host)
        scheme = host = ""
    yield _Hop("", scheme, host)


def _values(lines: Sequence[str]) -> Iterator[str]:
    """The values in all headers of a name, the last one first."""
    for line in reversed(lines):
        for value in reversed(line.split(",")):
            if value := value.strip():
                yield value


def _forwarded(scope: Scope) -> Iterator[_Hop]:
    """The hops of Forwarded, the last one first. A header that cannot be parsed, and all before it, do not count."""
    [lines] = _lines(scope, b"forwarded")
    for header in reversed(lines):
        hops = _parse_forwarded(header)
        if hops is None:
            return
        yield from reversed(hops)


def _parse_forwarded(text: str) -> list[_Hop] | None:
    """The hops in one Forwarded header, in its order. None: it is malformed.

    It is read from its start, so a quote that a client has opened makes the whole header malformed, and cannot hide
    what a proxy has appended.
    """
    hops: list[_Hop] = []
    pairs: dict[str, str] = {}
    at = 0
    while True:
        at = _skip_space(text, at)
        found = _PAIR.match(text, at)
        if found is not None:
            name, quoted, plain = found[1].lower(), found[2], found[3]
            if name in pairs:
                return None
            pairs[name] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
            at = _skip_space(text, found.end())
        end = text[at : at + 1]
        if end not in ("", ",", ";"):
            return None
        if end != ";" and pairs:
            hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", "").lower(), pairs.get("host", "")))
            pairs = {}
        if not end:
            return hops
        at += 1


def _skip_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t"):
        at += 1
    return at


def _lines(scope: Scope, *names: bytes) -> list[list[str]]:
    """The headers of each of these names."""
    lines: dict[bytes, list[str]] = {name: [] for name in names}
    for name, value in scope["headers"]:
        if name in lines:
            lines[name].append(value.decode("latin-1"))
    return list(lines.values())
