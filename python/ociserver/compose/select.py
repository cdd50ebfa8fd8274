"""A part of a registry: some repositories are there, the others are not (Go: `ocifilter.Select`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ociserver.compose.access_checker import CATALOG, Access, AccessChecker
from ociserver.errors import OCIError

__all__ = ["Select"]


class Select(AccessChecker):
    """Shows only the repositories that `allow` says yes to.

    The others answer NAME_UNKNOWN to reads, lists and deletions, and DENIED to writes; the catalog
    leaves them out. A mount from anywhere is UNSUPPORTED, since it could tell what a hidden one holds.

    Args:
        backend: the whole registry.
        allow: called with a repository's name, for each request; it should be quick.
    """

    def __init__(self, backend: Any, allow: Callable[[str], bool]) -> None:
        def check(repository: str, access: Access) -> None:
            if repository != CATALOG and not allow(repository):
                raise OCIError("DENIED" if access == "write" else "NAME_UNKNOWN")

        super().__init__(backend, check)
