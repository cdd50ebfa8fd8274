"""Whether a repository is local or upstream's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ociserver.compose.cache.index import Index
from ociserver.compose.cache.routing import Route
from ociserver.errors import OCIError
from ociserver.interface import Backend
from ociserver.iterators import closing

__all__ = ["Ownership"]


class Ownership:
    """Decides by what the caller of the cache says, or otherwise by what came first: a push or a fetch.

    Args:
        local: the registry that keeps the contents.
        index: has the owners.
        is_local: whether a repository is local; None: what came first decides.
    """

    def __init__(self, local: Backend, index: Index, is_local: Callable[[str], bool] | None) -> None:
        self._local = local
        self._index = index
        self._is_local = is_local

    async def is_upstreams(self, route: Route) -> bool:
        """Whether the cache asks upstream about this repository."""
        if route.upstream is None:
            return False
        if self._is_local is not None:
            return not self._is_local(route.repository)
        owner = await self._index.owner(route.repository)
        if owner is None and await self._is_tagged(route.repository):
            # Clients pushed it to the local registry directly, or before the cache existed.
            owner = (await self._index.claim(route.repository, "local"))[0]
        return owner != "local"

    async def is_cached(self, repository: str) -> bool:
        """Whether the contents of a repository come from upstream."""
        if self._is_local is not None and self._is_local(repository):
            return False
        return await self._index.owner(repository) == "upstream"

    async def check_push(self, repository: str) -> None:
        """Raises DENIED if clients cannot push to the repository."""
        if self._is_local is not None:
            if not self._is_local(repository):
                raise _denied(repository)
        elif await self._index.owner(repository) == "upstream":
            raise _denied(repository)

    @asynccontextmanager
    async def pushing(self, repository: str) -> AsyncIterator[None]:
        """Wrap the push of a manifest, which makes a repository local if it has no owner. Raises DENIED as above."""
        is_new = False
        if self._is_local is not None:
            await self.check_push(repository)
        else:
            owner, is_new = await self._index.claim(repository, "local")
            if owner == "upstream":
                raise _denied(repository)
        try:
            yield
        except BaseException:
            if is_new:
                await self._index.release([repository])
            raise

    async def _is_tagged(self, repository: str) -> bool:
        try:
            async with closing(self._local.tags(repository, limit=1)) as tags:
                async for _ in tags:
                    return True
        except OCIError:
            pass
        return False


def _denied(repository: str) -> OCIError:
    return OCIError("DENIED", f"{repository} belongs to upstream, and is read-only here")
