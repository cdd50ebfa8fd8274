"""A registry that shows some of another registry's repositories (Go: `ocifilter.Select`)."""

from __future__ import annotations

from collections.abc import Callable

from ociserver.backend_like import BackendLike
from ociserver.compose.access_checker import CATALOG, Access, AccessChecker
from ociserver.errors import OCIError

__all__ = ["Select"]


class Select(AccessChecker):
    """Shows only the repositories for which `allow` returns True.

    The others answer NAME_UNKNOWN to reads, lists and deletions, and DENIED to writes. The catalog leaves them out. A
    mount without a source is UNSUPPORTED, because it could reveal the contents of a hidden repository.

    Args:
        backend: the whole registry.
        allow: called with the repository's name for each request. It should be fast.
    """

    def __init__(self, backend: BackendLike, allow: Callable[[str], bool]) -> None:
        def check(repository: str, access: Access) -> None:
            if repository != CATALOG and not allow(repository):
                raise OCIError("DENIED" if access == "write" else "NAME_UNKNOWN")

        super().__init__(backend, check)
