"""What `serve` says when it listens: where, what becomes of the data, and how to try it."""

from __future__ import annotations

import ipaddress
from typing import Final

__all__ = ["address", "push_command", "welcome"]

IMAGE: Final = "hello-world"
"""The smallest image that everybody can pull."""


def address(host: str, port: int) -> str:
    """`host:port`, as it stands in a URL and in front of a repository."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def push_command(host: str, port: int, *, tls: bool) -> str:
    """One line that copies an image into the registry from a shell on this machine."""
    image = f"{address(_for_clients(host), port)}/{IMAGE}"
    if tls or _is_loopback(host):
        # Docker speaks plain HTTP with loopback addresses, and with no others unless its daemon is told to.
        return f"docker pull {IMAGE} && docker tag {IMAGE} {image} && docker push {image}"
    return f"skopeo copy --dest-tls-verify=false docker://docker.io/library/{IMAGE}:latest docker://{image}:latest"


def welcome(version: str, url: str, place: str, push: str) -> str:
    """The first lines that `serve` prints, for people."""
    return f"ociserver {version} listens on {url}\n  data is kept {place}\n  try it: {push}"


def _for_clients(host: str) -> str:
    """A name for the server that works from this machine."""
    return "localhost" if _is_wildcard(host) else host


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _is_loopback(host: str) -> bool:
    if host == "localhost" or _is_wildcard(host):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
