"""References on the command line, and what is wrong with one that is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import click

from ociserver.reference import Reference

__all__ = ["host_of", "image", "repository"]

_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_WANTED: Final = "write HOST/REPOSITORY, such as localhost:5000/group/project"


def host_of(text: str) -> str:
    """A registry's `host[:port]`.

    Raises:
        click.UsageError: it is none.
    """
    try:
        reference = Reference.parse(f"{text.rstrip('/')}/x")
    except ValueError:
        reference = None
    if reference is None or reference.repository != "x":
        raise click.UsageError(f"{text!r} is not a registry; write its host, such as localhost:5000.")
    return reference.host


def repository(text: str) -> Reference:
    """A reference without tag and digest.

    Raises:
        click.UsageError: it is none.
    """
    reference = image(text)
    if reference.tag or reference.digest:
        raise click.UsageError(f"{text!r} names an image; {_WANTED}, without a tag or digest.")
    return reference


def image(text: str) -> Reference:
    """A reference that names its registry.

    Raises:
        click.UsageError: it is none.
    """
    try:
        reference = Reference.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{text!r} is not a reference ({error}); {_WANTED}.") from None
    if reference.host in _HUB and "/" not in reference.repository:
        # As Docker has it.
        reference = replace(reference, repository=f"library/{reference.repository}")
    return reference
