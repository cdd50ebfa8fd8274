"""The first lines of `serve`: where it listens, where the data is kept, and a command to try it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ociserver.settings import EXAMPLE_IMAGE

__all__ = [
    "NOT_PROTECTED",
    "PUSH",
    "Trial",
    "address",
    "client_certificate",
    "command",
    "pull_command",
    "push_command",
    "unprotected",
    "welcome",
]


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try first with a server.

    Args:
        action: what the server accepts.
        repository: a repository for it; "" if none is known.
    """

    action: Literal["push", "pull"]
    repository: str


NOT_PROTECTED: Final = "not protected:"
"""How a line about what is not protected begins."""

PUSH: Final = Trial("push", EXAMPLE_IMAGE)
"""What to try with a store."""


def address(host: str, port: int) -> str:
    """`host:port`, as in a URL or in front of a repository."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def command(trial: Trial, host: str, port: int, *, tls: bool) -> str:
    """One line for a shell on this machine."""
    if trial.action == "push":
        return push_command(host, port, tls=tls, repository=trial.repository)
    return pull_command(host, port, tls=tls, repository=trial.repository)


def push_command(host: str, port: int, *, tls: bool, repository: str = EXAMPLE_IMAGE) -> str:
    """One line that copies an image into the registry from a shell on this machine."""
    image = f"{address(_for_clients(host), port)}/{repository}"
    if _docker_trusts(host, tls=tls):
        return f"docker pull {EXAMPLE_IMAGE} && docker tag {EXAMPLE_IMAGE} {image} && docker push {image}"
    return (
        f"skopeo copy --dest-tls-verify=false docker://docker.io/library/{EXAMPLE_IMAGE}:latest docker://{image}:latest"
    )


def pull_command(host: str, port: int, *, tls: bool, repository: str) -> str:
    """One line that pulls an image from the registry, with a placeholder if no repository is known."""
    image = f"{address(_for_clients(host), port)}/{repository or 'REPOSITORY'}:{'latest' if repository else 'TAG'}"
    if _docker_trusts(host, tls=tls):
        return f"docker pull {image}"
    return f"skopeo copy --src-tls-verify=false docker://{image} oci:image"


def client_certificate(host: str, port: int) -> str:
    """What a client needs first, if the server demands a certificate of clients."""
    folder = f"/etc/docker/certs.d/{address(_for_clients(host), port)}"
    return f"first give docker the certificate that each client needs: client.cert and client.key in {folder}"


def unprotected(trial: Trial, host: str, *, tls: bool, client_certificates: bool, users: bool) -> list[str]:
    """What the configuration does not protect, with what to set.

    Args:
        trial: what the server accepts.
        host: where it listens.
        tls: whether it serves HTTPS.
        client_certificates: whether clients need a certificate.
        users: whether the configuration says who may do what.
    """
    is_local = _is_loopback(host)
    if client_certificates:
        everybody = "everybody with a client certificate"
    elif is_local:
        everybody = "everybody on this machine"
    else:
        everybody = "everybody who reaches this port"
    found = []
    if not users:
        rights = "push, pull and delete" if trial.action == "push" else "pull"
        found.append(f"{everybody} may {rights}; [auth] of a configuration file sets users and rights")
    if not tls and not is_local:
        found.append("nothing is encrypted, not even passwords; --tls-cert and --tls-key serve HTTPS")
    return found


def welcome(
    version: str, url: str, place: str, trial: str, first: str = "", unprotected: Sequence[str] = ()
) -> list[str]:
    """The first lines that `serve` prints, for people.

    Args:
        version: of the package.
        url: where it listens.
        place: where the data is kept.
        trial: a command to try it.
        first: what to do before that; "" for nothing.
        unprotected: what the configuration does not protect.
    """
    warnings = [f"{NOT_PROTECTED} {text}" for text in unprotected]
    lines = [f"data is kept {place}", *warnings, first, f"try it: {trial}"]
    return [f"ociserver {version} listens on {url}", *(f"  {line}" for line in lines if line)]


def _docker_trusts(host: str, *, tls: bool) -> bool:
    """Whether Docker uses this registry without configuration: it uses plain HTTP only for loopback addresses."""
    return tls or _is_wildcard(host) or _is_loopback(host)


def _for_clients(host: str) -> str:
    """A host name for the server that works on this machine."""
    return "localhost" if _is_wildcard(host) else host


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
