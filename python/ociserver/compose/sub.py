"""A registry of the repositories below a prefix (Go: `ocifilter.Sub`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ociserver._core import is_repository
from ociserver.backend_like import BackendLike
from ociserver.compose.gate import Access, Gate
from ociserver.errors import OCIError
from ociserver.interface import Url
from ociserver.iterators import closing

__all__ = ["Sub"]


class Sub(Gate):
    """Shows `prefix/name` as `name`. Shows neither `prefix` itself nor other names that begin with its characters.

    A mount without a source is UNSUPPORTED, because it could reveal contents outside of the prefix.

    Args:
        backend: the whole registry.
        prefix: one or more elements of a repository's name, such as `team` or `team/project`; "" shows everything.

    Raises:
        ValueError: the prefix is not valid.
    """

    def __init__(self, backend: BackendLike, prefix: str) -> None:
        if prefix and not is_repository(prefix):
            raise ValueError(f"{prefix!r} is not a prefix of repositories; write parts of a name, such as team/project")
        super().__init__(backend)
        self._prefix = f"{prefix}/" if prefix else ""

    async def enter(self, access: Access, repository: str) -> str:
        # Checked before the two are joined, so that `../x` cannot leave the prefix in any backend.
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        return self._prefix + repository

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        return await self.inner.locate_blob(await self.enter("read", repository), digest)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        return await self.inner.locate_upload(await self.enter("write", repository), upload_id)

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        # In a sorted list, all names with the prefix are adjacent. So a page here is a page of the inner list.
        found = self.inner.repositories(start_after=self._prefix + start_after, limit=limit)
        async with closing(found) as names:
            async for name in names:
                if not name.startswith(self._prefix):
                    return
                yield name.removeprefix(self._prefix)
