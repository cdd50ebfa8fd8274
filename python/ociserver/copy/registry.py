"""Copies a whole registry: all repositories of its catalog, with all their tags and what refers to them.

A copy that was interrupted is started again. It asks the destination for each manifest, and reads nothing else of what
is there. So only what was in progress is sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from ociserver.copy.copier import Copied, Copy, Settings
from ociserver.copy.ends import CopyError, Ends, listed
from ociserver.copy.progress import Progress
from ociserver.copy.sharing import Shared, each
from ociserver.errors import OCIError
from ociserver.interface import Backend

__all__ = ["CopiedRepository", "copy_registry"]

REPOSITORIES: Final = 4
"""Repositories that are copied at the same time. They share the slots for transfers."""


@dataclass(slots=True)
class CopiedRepository:
    """What was copied of one repository.

    Args:
        name: of the repository.
        tags: number of tags that the destination has now.
        failed: tags that could not be copied.
        error: why the rest of the repository could not be copied; None if it was.
    """

    name: str
    tags: int = 0
    failed: list[Copied] = field(default_factory=list)
    error: CopyError | None = None


async def copy_registry(
    source: Backend, target: Backend, settings: Settings, progress: Progress, *, repositories: int = REPOSITORIES
) -> AsyncIterator[CopiedRepository]:
    """Copy every repository under the same name. Continues with the other ones after an error.

    Args:
        source: an open registry.
        target: another one.
        settings: how to copy.
        progress: counts all copies.
        repositories: maximum number of repositories that are copied at the same time.

    Raises:
        CopyError: the source does not list its repositories, or a registry cannot be reached.
    """
    shared = Shared(settings.jobs)

    async def work(name: str) -> CopiedRepository:
        return await _copy_repository(Ends(source, name, target, name), settings, progress, shared)

    names = listed(source.repositories(), "the list of repositories")
    async with aclosing(each(names, work, repositories)) as results:
        async for copied in results:
            yield copied


async def _copy_repository(ends: Ends, settings: Settings, progress: Progress, shared: Shared) -> CopiedRepository:
    result = CopiedRepository(ends.from_repository)
    try:
        async with Copy(ends, settings, progress, shared) as copying:
            async for copied in copying.all_tags():
                if copied.error is None:
                    result.tags += 1
                else:
                    result.failed.append(copied)
    except CopyError as error:
        if error.is_unreachable:
            raise
        # A repository may have been deleted since it was listed, or have nothing but blobs.
        if not (isinstance(error.error, OCIError) and error.error.code == "NAME_UNKNOWN" and error.end == "source"):
            result.error = error
    return result
