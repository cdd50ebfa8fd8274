"""References on the command line, and what is wrong with a text that is not one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click

from ociserver.reference import Reference
from ociserver.units import MAX_PORT
from ociserver.urls import HUB_HOSTS, shown

__all__ = ["host_of", "image", "port_of", "quoted", "repository"]

_WANTED: Final = "write HOST/REPOSITORY, such as localhost:5000/group/project"


def quoted(text: str) -> str:
    """A text that a user has typed, as messages repeat it: without a password that may be in a URL."""
    return repr(shown(text))


def host_of(text: str) -> str:
    """A registry's `host[:port]`.

    Raises:
        click.UsageError: the text is not one.
    """
    try:
        reference = Reference.parse(f"{text.rstrip('/')}/x")
    except ValueError:
        reference = None
    if reference is None or reference.repository != "x":
        raise click.UsageError(f"{quoted(text)} is not a registry; write its host, such as localhost:5000.")
    _check_port(reference.host)
    return reference.host


def repository(text: str) -> Reference:
    """A reference without tag and digest.

    Raises:
        click.UsageError: the text is not one.
    """
    reference = image(text)
    if reference.tag or reference.digest:
        raise click.UsageError(f"{quoted(text)} names an image; {_WANTED}, without a tag or digest.")
    return reference


def image(text: str) -> Reference:
    """A reference that names its registry.

    Raises:
        click.UsageError: the text is not one.
    """
    if "://" in text:
        raise click.UsageError(f"{quoted(text)} is a URL, and not a reference; {_WANTED}.")
    try:
        reference = Reference.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{quoted(text)} is not a reference ({error}); {_WANTED}.") from None
    _check_port(reference.host)
    if reference.host in HUB_HOSTS and "/" not in reference.repository:
        # As for Docker.
        reference = replace(reference, repository=f"library/{reference.repository}")
    return reference


def port_of(host: str) -> tuple[str, int]:
    """Name and port of a registry's `host[:port]`."""
    name, _, port = host.rpartition(":") if ":" in host.rpartition("]")[2] else (host, "", "443")
    return name.strip("[]"), int(port)


def _check_port(host: str) -> None:
    _, port = port_of(host)
    if not 0 < port <= MAX_PORT:
        raise click.UsageError(f"{port} is not the port of a registry; write a number from 1 to {MAX_PORT}.")
