"""Which hosts may get the credentials for a registry: its own, and those of token servers that are known to be its."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from ociserver.errors import HTTPError
from ociserver.urls import HUB_HOSTS, check_host

__all__ = ["KNOWN", "TokenHosts"]

KNOWN: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(HUB_HOSTS, frozenset({"auth.docker.io"})),
    "registry.gitlab.com": frozenset({"gitlab.com"}),
    "docker.elastic.co": frozenset({"docker-auth.elastic.co"}),
    "registry.digitalocean.com": frozenset({"api.digitalocean.com"}),
    "nvcr.io": frozenset({"authn.nvidia.com"}),
}
"""Token servers of public registries on another host than the registry. docs/client-auth.md has the sources."""


class TokenHosts:
    """The hosts of the token servers that may get the credentials for one registry.

    The registry's own host is always one of them, on any port. Who controls the registry's answers can name any URL as
    the token server, and so no other host gets a password unasked.

    Args:
        registry: `host` or `host:port` of the registry; "" if it is not known.
        more: other hosts, each as `host`, for all its ports, or as `host:port`.

    Raises:
        ValueError: one of `more` is not the name of a host.
    """

    def __init__(self, registry: str, more: Collection[str] = ()) -> None:
        own = _host(registry)
        self._registry = registry
        self._trusted = {check_host(each).lower() for each in more} | KNOWN.get(own, frozenset()) | {own}

    def check(self, realm: str) -> None:
        """Raises HTTPError if the credentials must not be sent to this URL, which is valid."""
        parts = urlsplit(realm)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        name = f"[{host}]" if ":" in host else host
        if host and not {name, f"{name}:{port}"} & self._trusted:
            registry = self._registry or "the registry"
            raise HTTPError(
                502,
                f"{registry} names {parts.scheme}://{parts.netloc} as its token server, which is another host, so it "
                "gets no password. If that is the token server of the registry, name it: `token-hosts = "
                f'["{parts.netloc}"]` in a configuration file, `--token-host {parts.netloc}` on the command line, '
                "`token_hosts` in Python",
            )


def _host(registry: str) -> str:
    """The host without the port, as it stands in a URL."""
    host = urlsplit(f"//{registry}").hostname or ""
    return f"[{host}]" if ":" in host else host
