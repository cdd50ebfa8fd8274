"""A registry that asks, before each call, whether it may be (Go: `ocifilter.AccessChecker`)."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from ociserver.compose.gate import Access, Gate
from ociserver.errors import OCIError
from ociserver.iterators import closing

__all__ = ["CATALOG", "Access", "AccessChecker", "Check"]

Check = Callable[[str, Access], bool | Awaitable[bool | None] | None]

CATALOG: Final = "*"
"""The repository that a check is asked about for the list of repositories. No repository has this name."""


class AccessChecker(Gate):
    """Calls `check` with a repository and a kind of access before anything else happens.

    The check refuses by raising: what it raises is what the caller gets. Returning False refuses with DENIED.
    It may be asynchronous, and finds who asks in `ociserver.request_context`.

    A mount asks for `read` where the blob is from, then for `write` where it goes to; one from anywhere is
    UNSUPPORTED, because it could tell what a repository holds that may not be read. The list of repositories asks
    for `list` of `CATALOG`, then for `read` of each, and leaves out those for which an `OCIError` is raised.

    Args:
        backend: the whole registry.
        check: see above.
    """

    def __init__(self, backend: Any, check: Check) -> None:
        super().__init__(backend)
        self._check = check

    async def enter(self, access: Access, repository: str) -> str:
        answer = self._check(repository, access)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is False:
            raise OCIError("DENIED")
        return repository

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Those that may be read; a page may ask about many others to find its own."""
        await self.enter("list", CATALOG)
        count = 0
        # Without a limit the inner list comes page by page, for as long as it is asked for more.
        async with closing(self.inner.repositories(start_after=start_after)) as names:
            async for name in names:
                if limit is not None and count >= limit:
                    return
                if await self._is_readable(name):
                    count += 1
                    yield name

    async def _is_readable(self, repository: str) -> bool:
        try:
            await self.enter("read", repository)
        except OCIError:
            return False
        return True
