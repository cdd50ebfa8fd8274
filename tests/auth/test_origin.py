"""Where a request comes from, and where clients reach the server."""

from __future__ import annotations

import pytest

from ociserver.auth.origin import Origin
from tests.handler.driver import make_scope

TRUSTED = Origin(["10.0.0.0/8", "127.0.0.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    "peer, forwarded, client",
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        # A socket for both versions of IP.
        ("::ffff:127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db9::7", "2001:db9::7"),
        # Several proxies; what the client itself has sent stands first.
        ("10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # With a port, as some proxies write it: each port would be another client otherwise.
        ("10.0.0.1", "203.0.113.7:50123", "203.0.113.7"),
        ("10.0.0.1", "[2001:db9::7]:50123", "2001:db9::7"),
        ("10.0.0.1", "[2001:db9::7]", "2001:db9::7"),
        # Not an address: the proxy is the last that is known.
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, _hidden", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # Not a proxy.
        ("203.0.113.9", "203.0.113.7", "203.0.113.9"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_address_of_the_client(peer: str, forwarded: str, client: str) -> None:
    scope = make_scope("GET", "/v2/", [("X-Forwarded-For", forwarded)], client=(peer, 1) if peer else None)
    assert TRUSTED.client(scope) == client
    assert Origin().client(scope) == peer
