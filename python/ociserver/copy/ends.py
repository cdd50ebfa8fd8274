"""Both ends of a copy, and which one an error is from: both are registries, and both say `unknown manifest`."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from ociserver.copy.parts import Part
from ociserver.errors import HTTPError, OCIError, RegistryError, marshal_error
from ociserver.interface import Backend

__all__ = [
    "CopyError",
    "End",
    "Ends",
    "MissingPartError",
    "is_missing",
    "is_there",
    "may_pass",
    "saying",
]

End = Literal["source", "destination"]

_ABSENT: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})
_HIDDEN: Final = _ABSENT | {"DENIED", "UNAUTHORIZED"}
"""What registries answer for a missing content, also to a client that may not see it. The write itself will show
whether the client may write."""


class CopyError(Exception):
    """A copy that failed.

    Args:
        end: where.
        what: what was being copied: `blob sha256:...`, `tag latest`.
        error: what the registry there said.
    """

    def __init__(self, end: End, what: str, error: RegistryError) -> None:
        super().__init__(f"{end}: {what}: {error}")
        self.end = end
        self.what = what
        self.error = error

    @property
    def is_unreachable(self) -> bool:
        """The registry gave no answer, or one that is none of a registry's."""
        return isinstance(self.error, HTTPError)


class MissingPartError(CopyError):
    """The source lacks something that a manifest references, so the copy cannot be complete.

    Args:
        part: what is missing.
        parent: the digest of the manifest.
    """

    def __init__(self, part: Part, parent: str) -> None:
        kind = "blob or manifest" if part.kind == "unknown" else part.kind
        code = "MANIFEST_UNKNOWN" if part.kind == "manifest" else "BLOB_UNKNOWN"
        self.parent = parent
        why = f"the source does not have it, and manifest {parent} needs it"
        super().__init__("source", f"{kind} {part.digest}", OCIError(code, why))


@dataclass(frozen=True, slots=True)
class Ends:
    """Two repositories."""

    source: Backend
    from_repository: str
    target: Backend
    to_repository: str


@contextmanager
def saying(end: End, what: str) -> Iterator[None]:
    """Turn what the registry at that end raises into a `CopyError`."""
    try:
        yield
    except RegistryError as error:
        raise CopyError(end, what, error) from error


def is_missing(error: CopyError, digest: str) -> bool:
    """Whether it says that the source does not have the content of this digest; what that needs is another matter."""
    is_absent = isinstance(error.error, OCIError) and error.error.code in _ABSENT
    return error.end == "source" and is_absent and error.what.endswith(digest)


def may_pass(error: CopyError) -> bool:
    """Whether the destination failed in a way that a second attempt may not meet."""
    if error.end == "source":
        return False
    return error.is_unreachable or marshal_error(error.error).status in (429, 500, 502, 503, 504)


async def is_there(resolved: Awaitable[Any], what: str) -> bool:
    """Whether the destination has what it is asked to resolve."""
    try:
        with saying("destination", what):
            await resolved
    except CopyError as error:
        if isinstance(error.error, OCIError) and error.error.code in _HIDDEN:
            return False
        raise
    return True
