"""Where a request comes from, and where the client reaches this server.

The handler has put what trusted proxies say into the scope (`ociserver.proxies`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociserver.proxies import HOST

if TYPE_CHECKING:
    from ociserver.types import Scope

__all__ = ["client_of", "url_of"]


def client_of(scope: Scope) -> str:
    """The address of the client; "" if the server does not report it."""
    client = scope.get("client")
    return client[0] if client else ""


def url_of(scope: Scope) -> str:
    """Scheme and host of this server as the client sees them, without a slash at the end."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not HOST.fullmatch(host):
        server = scope.get("server") or ("localhost", None)
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    return f"{scope.get('scheme', 'http')}://{host}"
