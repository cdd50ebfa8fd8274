"""What proxies say about a request counts if they are trusted, and only then."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ociserver import Event, Handler, Memory, TrustedProxies
from ociserver.proxies import ProxyHeaders
from ociserver.types import Message, Scope
from tests.handler.driver import make_scope, request
from tests.handler.registry import TAG, filled

NETWORKS: Final = ["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"]
PROXY: Final = ("10.0.0.1", 4711)


def resolved(headers: list[tuple[str, str]], peer: str = "10.0.0.1", kind: ProxyHeaders = "x-forwarded") -> Scope:
    scope = make_scope("GET", "/v2/", [("Host", "inner"), *headers], client=(peer, 4711) if peer else None)
    before = {**scope, "headers": [*scope["headers"]]}
    found = TrustedProxies(NETWORKS, kind).resolve(scope)
    assert scope == before, "the scope of the server is not changed"
    return found


def client(scope: Scope) -> str:
    address: str = scope["client"][0] if scope["client"] else ""
    return address


def where(scope: Scope) -> tuple[str, list[bytes]]:
    return scope["scheme"], [value for name, value in scope["headers"] if name == b"host"]


@pytest.mark.parametrize(
    "peer, forwarded, address",
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        # A socket for both versions of IP.
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db9::7", "2001:db9::7"),
        # Several proxies; what the client itself has sent stands first.
        ("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.7,,10.0.0.2,", "203.0.113.7"),
        # With a port, as some proxies write it: each port would be another client otherwise.
        ("10.0.0.1", "203.0.113.7:50123", "203.0.113.7"),
        ("10.0.0.1", "[2001:db9::7]:50123", "2001:db9::7"),
        ("10.0.0.1", "[2001:db9::7]", "2001:db9::7"),
        # Not an address: the proxy is the last that is known.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, _hidden", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2, 300.1.1.1", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.7 evil", "10.0.0.1"),
        ("10.0.0.1", f"203.0.113.7:{'1' * 100}", "203.0.113.7"),
        ("10.0.0.1", f"203.0.113.7:{'1' * 200}", "10.0.0.1"),
        ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
        ("10.0.0.1", "[2001:db9::7", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.007", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # Not a proxy.
        ("203.0.113.9", "203.0.113.7", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.7", "::ffff:203.0.113.9"),
        ("2001:db9::1", "203.0.113.7", "2001:db9::1"),
        ("a name", "203.0.113.7", "a name"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_address_in_x_forwarded_for(peer: str, forwarded: str, address: str) -> None:
    assert client(resolved([("X-Forwarded-For", forwarded)], peer)) == address


def test_each_server_trusts_its_own_proxies() -> None:
    scope = make_scope("GET", "/v2/", [("X-Forwarded-For", "203.0.113.7")], client=("10.0.0.1", 4711))
    trusting, other = TrustedProxies(["10.0.0.0/8"]), TrustedProxies(["192.0.2.0/24"])
    for _ in range(2):
        assert client(trusting.resolve(scope)) == "203.0.113.7"
        assert client(other.resolve(scope)) == "10.0.0.1"


def test_repeated_headers_are_one_list() -> None:
    """RFC 9110, 5.3. A proxy may append a header instead of a value."""
    headers = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "203.0.113.7"), ("X-Forwarded-For", "10.0.0.2")]
    assert client(resolved(headers)) == "203.0.113.7"
    headers = [("Forwarded", 'for="1.2.3.4"'), ("Forwarded", "for=203.0.113.7"), ("Forwarded", "for=10.0.0.2")]
    assert client(resolved(headers, kind="forwarded")) == "203.0.113.7"


@pytest.mark.parametrize(
    "headers, expected",
    [
        ([("X-Forwarded-Proto", "https")], ("https", [b"inner"])),
        ([("X-Forwarded-Proto", "HTTPS")], ("https", [b"inner"])),
        ([("X-Forwarded-Host", "registry.example:8443")], ("http", [b"registry.example:8443"])),
        ([("X-Forwarded-Proto", "http, https"), ("X-Forwarded-Host", "evil, registry.example")], None),
        (
            [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil"), ("X-Forwarded-Host", "registry.example")],
            None,
        ),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", 'a"b')], ("https", [b"inner"])),
        ([("X-Forwarded-Proto", "javascript"), ("X-Forwarded-Host", "a/b")], ("http", [b"inner"])),
        ([("X-Forwarded-For", "unknown"), ("X-Forwarded-Proto", "https")], ("https", [b"inner"])),
    ],
)
def test_scheme_and_host_in_x_forwarded(headers: list[tuple[str, str]], expected: Any) -> None:
    assert where(resolved(headers)) == (expected or ("https", [b"registry.example"]))
    assert where(resolved(headers, "203.0.113.9")) == ("http", [b"inner"])


@pytest.mark.parametrize(
    "forwarded, address, place",
    [
        # The examples of RFC 7239, 4.
        ('For="[2001:db9:cafe::17]:4711"', "2001:db9:cafe::17", ("http", b"inner")),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60", ("http", b"inner")),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17", ("http", b"inner")),
        ('for="_gazonk"', "10.0.0.1", ("http", b"inner")),
        ("for=unknown;proto=https", "10.0.0.1", ("https", b"inner")),
        # Several proxies: the outermost one knows which scheme and host the client has asked.
        (
            'for=203.0.113.7;proto=https;host="registry.example:8443", for=10.0.0.2;proto=http;host=edge',
            "203.0.113.7",
            ("https", b"registry.example:8443"),
        ),
        ("for=203.0.113.7, for=10.0.0.2;proto=https;host=edge", "203.0.113.7", ("https", b"edge")),
        # What the client itself has sent stands first.
        ("for=1.2.3.4;proto=https;host=evil, for=203.0.113.7", "203.0.113.7", ("http", b"inner")),
        # Common forms that are not in the grammar: a port without quotes, spaces, empty elements.
        ("for=203.0.113.7:4711 ; host=registry.example:8443", "203.0.113.7", ("http", b"registry.example:8443")),
        (", ;for=203.0.113.7; ,", "203.0.113.7", ("http", b"inner")),
        (r'for="203.0.113.\7"', "203.0.113.7", ("http", b"inner")),
        # Malformed: nothing in it counts.
        ("for=203.0.113.7;for=203.0.113.8", "10.0.0.1", ("http", b"inner")),
        ('for="203.0.113.7', "10.0.0.1", ("http", b"inner")),
        ("for=203.0.113.7 for=203.0.113.8", "10.0.0.1", ("http", b"inner")),
        ("for 203.0.113.7", "10.0.0.1", ("http", b"inner")),
        ("for=", "10.0.0.1", ("http", b"inner")),
        # A quote that the client opens hides nothing of what the proxy appends.
        ('for=1.2.3.4;x=", for=203.0.113.7', "10.0.0.1", ("http", b"inner")),
        ('for=1.2.3.4;x=", for="[2001:db9::7]";proto=https', "10.0.0.1", ("http", b"inner")),
        ("", "10.0.0.1", ("http", b"inner")),
    ],
)
def test_forwarded(forwarded: str, address: str, place: tuple[str, bytes]) -> None:
    found = resolved([("Forwarded", forwarded)], kind="forwarded")
    assert client(found) == address
    assert where(found) == (place[0], [place[1]])
    assert client(resolved([("Forwarded", forwarded)], "203.0.113.9", "forwarded")) == "203.0.113.9"


def test_a_malformed_header_hides_only_those_before_it() -> None:
    headers = [("Forwarded", "for=1.2.3.4"), ("Forwarded", 'for="'), ("Forwarded", "for=10.0.0.2")]
    assert client(resolved(headers, kind="forwarded")) == "10.0.0.2"


def test_only_the_headers_count_that_the_proxies_set() -> None:
    """A proxy passes on the others as the client has sent them."""
    both = [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.8;proto=https;host=evil")]
    assert client(resolved(both)) == "203.0.113.7"
    assert where(resolved(both)) == ("http", [b"inner"])
    assert client(resolved(both, kind="forwarded")) == "203.0.113.8"
    assert client(resolved([("X-Forwarded-For", "203.0.113.7")], kind="forwarded")) == "10.0.0.1"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "localhost", ""])
def test_a_network_that_is_none(network: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits"):
        TrustedProxies([network])


@pytest.mark.anyio
async def test_the_handler_reports_the_client_with_and_without_the_event_loop() -> None:
    events: list[Event] = []
    handler = Handler(await filled(Memory()), observe=events.append, proxies=TrustedProxies(NETWORKS))
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    async with handler:
        for peer in (PROXY, ("203.0.113.9", 4711)):
            await request(handler, "GET", "/v2/", headers=forwarded, client=peer)
            await request(handler, "GET", TAG, headers=forwarded, client=peer)
            sent: list[Message] = []
            scope = make_scope("GET", TAG, forwarded.items(), client=peer)
            assert handler.answer_nowait(scope, sent.append)  # type: ignore[arg-type]  # as granian's `send` does
    assert [event.client for event in events] == ["203.0.113.7"] * 3 + ["203.0.113.9"] * 3


@pytest.mark.anyio
async def test_a_location_is_a_path_so_it_fits_every_scheme_and_host() -> None:
    handler = Handler(Memory(), proxies=TrustedProxies(NETWORKS))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    reply = await request(handler, "POST", "/v2/app/blobs/uploads/", headers=headers, client=PROXY)
    assert reply["location"].startswith("/v2/app/blobs/uploads/")
