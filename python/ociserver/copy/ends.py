"""Source and destination of a copy, and errors that say at which of them they happened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from ociserver.copy.parts import Part
from ociserver.errors import CONTENT_UNKNOWN, HTTPError, OCIError, RegistryError, marshal_error
from ociserver.interface import Backend

__all__ = [
    "CopyError",
    "End",
    "Ends",
    "MissingPartError",
    "is_missing",
    "is_there",
    "listed",
    "may_pass",
    "saying",
]

End = Literal["source", "destination"]

_HIDDEN: Final = CONTENT_UNKNOWN | {"DENIED", "UNAUTHORIZED"}
"""What registries answer for a missing content, also to clients that may not see it. If the client may not push, the
push reports it."""


class CopyError(Exception):
    """A copy that failed.

    Args:
        end: where the error happened.
        what: the content that was being copied: `blob sha256:...`, `tag latest`.
        error: of the registry.
    """

    def __init__(self, end: End, what: str, error: RegistryError) -> None:
        super().__init__(f"{end}: {what}: {error}")
        self.end = end
        self.what = what
        self.error = error

    @property
    def is_unreachable(self) -> bool:
        """Whether the registry did not answer, or not like a registry."""
        return isinstance(self.error, HTTPError)


class MissingPartError(CopyError):
    """The source lacks something that a manifest references, so the copy cannot be complete.

    Args:
        part: the missing content.
        parent: the digest of the manifest.
    """

    def __init__(self, part: Part, parent: str) -> None:
        kind = "blob or manifest" if part.kind == "unknown" else part.kind
        code = "MANIFEST_UNKNOWN" if part.kind == "manifest" else "BLOB_UNKNOWN"
        self.parent = parent
        why = f"the source does not have it, but manifest {parent} needs it"
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
    """Turn errors of the registry at that end into `CopyError`."""
    try:
        yield
    except RegistryError as error:
        raise CopyError(end, what, error) from error


async def listed(names: AsyncIterator[str], what: str) -> AsyncIterator[str]:
    """The names of a list of the source, whose errors become `CopyError`."""
    while True:
        with saying("source", what):
            name = await anext(names, None)
        if name is None:
            return
        yield name


def is_missing(error: CopyError, digest: str) -> bool:
    """Whether the error says that the source lacks this content itself, and not something that the content needs."""
    is_absent = isinstance(error.error, OCIError) and error.error.code in CONTENT_UNKNOWN
    return error.end == "source" and is_absent and error.what.endswith(digest)


def may_pass(error: CopyError) -> bool:
    """Whether the destination failed in a way that may not repeat itself."""
    if error.end == "source":
        return False
    return error.is_unreachable or marshal_error(error.error).status in (429, 500, 502, 503, 504)


async def is_there(resolved: Awaitable[Any], what: str) -> bool:
    """Whether the destination has the content that the call resolves."""
    try:
        with saying("destination", what):
            await resolved
    except CopyError as error:
        if isinstance(error.error, OCIError) and error.error.code in _HIDDEN:
            return False
        raise
    return True
