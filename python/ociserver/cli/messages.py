"""What `serve` says when it listens: where, what becomes of the data, and how to try it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["PUSH", "Trial", "address", "command", "pull_command", "push_command", "welcome"]

IMAGE: Final = "hello-world"
"""The smallest image that everybody can pull: from Docker Hub, where it is in `library`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What somebody can try who has just started a server.

    Args:
        action: what it takes.
        repository: a repository for that; "" if none is known.
    """

    action: Literal["push", "pull"]
    repository: str


PUSH: Final = Trial("push", IMAGE)
"""What a store takes."""


def address(host: str, port: int) -> str:
    """`host:port`, as it stands in a URL and in front of a repository."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def command(trial: Trial, host: str, port: int, *, tls: bool) -> str:
    """One line for a shell on this machine."""
    if trial.action == "push":
        return push_command(host, port, tls=tls, repository=trial.repository)
    return pull_command(host, port, tls=tls, repository=trial.repository)


def push_command(host: str, port: int, *, tls: bool, repository: str = IMAGE) -> str:
    """One line that copies an image into the registry from a shell on this machine."""
    image = f"{address(_for_clients(host), port)}/{repository}"
    if _docker_trusts(host, tls=tls):
        return f"docker pull {IMAGE} && docker tag {IMAGE} {image} && docker push {image}"
    return f"skopeo copy --dest-tls-verify=false docker://docker.io/library/{IMAGE}:latest docker://{image}:latest"


def pull_command(host: str, port: int, *, tls: bool, repository: str) -> str:
    """One line that pulls an image from the registry. Where no repository is known, its name is left to fill in."""
    image = f"{address(_for_clients(host), port)}/{repository or 'REPOSITORY'}:{'latest' if repository else 'TAG'}"
    if _docker_trusts(host, tls=tls):
        return f"docker pull {image}"
    return f"skopeo copy --src-tls-verify=false docker://{image} oci:image"


def welcome(version: str, url: str, place: str, trial: str) -> str:
    """The first lines that `serve` prints, for people."""
    return f"ociserver {version} listens on {url}\n  data is kept {place}\n  try it: {trial}"


def _docker_trusts(host: str, *, tls: bool) -> bool:
    """Docker speaks plain HTTP with loopback addresses, and with no others unless its daemon is told to."""
    return tls or _is_loopback(host)


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
