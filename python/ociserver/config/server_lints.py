"""What is allowed in `[server]`, but probably a mistake."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from ociserver.config.auth_lints import Lint
from ociserver.config.model import Server

__all__ = ["lints"]


def lints(server: Server) -> Iterator[Lint]:
    """What is probably a mistake in the table `[server]`."""
    for number, network in enumerate(server.trusted_proxies or ()):
        if ipaddress.ip_network(network).prefixlen == 0:
            yield Lint(
                ("server", "trusted-proxies", number),
                "trusts everybody, so that a client may claim to have any address",
            )
