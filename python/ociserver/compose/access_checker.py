"""A registry that calls a check before each call (Go: `ocifilter.AccessChecker`)."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from ociserver.backend_like import BackendLike
from ociserver.compose.gate import Access, Gate
from ociserver.errors import OCIError
from ociserver.iterators import closing

__all__ = ["CATALOG", "Access", "AccessChecker", "Check"]

Check = Callable[[str, Access], bool | Awaitable[bool | None] | None]

CATALOG: Final = "*"
"""The repository name with which a check is called for the list of repositories. No repository has this name."""


class AccessChecker(Gate):
    """Calls `check` with a repository and a kind of access before each call.

    To refuse, the check raises an exception, which the caller gets, or returns False, which becomes DENIED. The check
    may be asynchronous. It finds the user in `ociserver.request_context`.

    For a mount, the check is called for `read` of the source, and then for `write` of the target. A mount without a
    source is UNSUPPORTED, because it could reveal the contents of a repository that the user may not read. For the list
    of repositories, it is called for `list` of `CATALOG`, and then for `read` of each repository. A repository for
    which it raises an `OCIError` is left out of the list.

    Args:
        backend: the whole registry.
        check: see above.
    """

    def __init__(self, backend: BackendLike, check: Check) -> None:
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
        """The repositories that the user may read. A page may check many other repositories before it is full."""
        await self.enter("list", CATALOG)
        count = 0
        # Without a limit, the inner list is read page by page, as far as it is needed.
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
