"""Both ends of a copy, and which one an error is from: both are registries, and both say `unknown manifest`."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from ociserver.copy.parts import Part
from ociserver.errors import HTTPError, OCIError, RegistryError, marshal_error
from ociserver.interface import Backend

__all__ = ["CopyError", "End", "Ends", "is_missing", "is_there", "may_pass", "missing_part", "saying"]

End = Literal["source", "destination"]

_ABSENT: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})
_HIDDEN: Final = _ABSENT | {"DENIED", "UNAUTHORIZED"}
"""What registries say of what is not there to whoever may not see it. Whether one may write is said by the write."""


class CopyError(Exception):
    """A copy that failed.

    Args:
        end: where.
        what: what was being copied: `blob sha256:...`, `tag latest`.
        error: what the registry there said.
        needed_by: digest of the manifest that cannot be copied without it; "" if it was asked for by itself.
    """

    def __init__(self, end: End, what: str, error: RegistryError, *, needed_by: str = "") -> None:
        super().__init__(f"{end}: {what}: {error}")
        self.end = end
        self.what = what
        self.error = error
        self.needed_by = needed_by

    @property
    def is_unreachable(self) -> bool:
        """The registry gave no answer, or one that is none of a registry's."""
        return isinstance(self.error, HTTPError)


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


def missing_part(part: Part, parent: str) -> CopyError:
    """The error of a copy that cannot be complete, as the source lacks a part of the manifest `parent`."""
    kind = "blob or manifest" if part.kind == "unknown" else part.kind
    code = "MANIFEST_UNKNOWN" if part.kind == "manifest" else "BLOB_UNKNOWN"
    why = f"the source does not have it, and manifest {parent} needs it"
    return CopyError("source", f"{kind} {part.digest}", OCIError(code, why), needed_by=parent)


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
