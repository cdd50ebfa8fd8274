"""Which clients may be redirected to the storage of a blob."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from ociserver.proxies import parse_networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ociserver.options import Options
    from ociserver.types import Scope

__all__ = ["HEADER", "Redirects"]

HEADER: Final = b"ociserver-redirect"
"""A request with `Ociserver-Redirect: no` gets the bytes from this server."""


class Redirects:
    """Decides for each GET of a blob.

    Args:
        options: has `redirect_pulls` and `redirect_except`.
    """

    def __init__(self, options: Options) -> None:
        self._are_on = options.redirect_pulls
        self._except = [ip_network(network) for network in parse_networks(options.redirect_except)]

    def allow(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the client of a request may be redirected."""
        if not self._are_on or headers.get(HEADER, b"").lower() == b"no":
            return False
        return not self._except or not self._is_excepted(scope.get("client"))

    def _is_excepted(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:
            return True  # nobody knows where the client is, so this server is the place that it reaches for sure
        return any(address in network for network in self._except)
