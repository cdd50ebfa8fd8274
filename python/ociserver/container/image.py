"""The defaults of the image, and where it finds its configuration file."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["DATA", "FOREIGN_FILES", "PORT", "any_address", "configuration_file", "is_container"]

_VARIABLE: Final = "OCISERVER_CONTAINER"
"""The image sets it to 1."""

FILE: Final = Path("/etc/ociserver/registry.toml")
FOREIGN_FILES: Final = (Path("/etc/docker/registry/config.yml"), Path("/etc/distribution/config.yml"))
"""Where `registry:2` and `registry:3` have their configuration."""

DATA: Final = "/var/lib/registry"
PORT: Final = "5000"


def is_container(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in the image."""
    return environ.get(_VARIABLE) == "1"


def configuration_file(given: Path | None) -> Path | None:
    """The configuration file: the given one, or the one at the image's own place if it is there."""
    return given if given is not None else FILE if FILE.exists() else None


def any_address() -> str:
    """Every address of the container. Without IPv6 in the kernel, `::` cannot be used."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - a container is reached by its ports only
