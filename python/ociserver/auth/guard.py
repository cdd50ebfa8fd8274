"""A registry that asks the rules before each call.

`Auth.check` has asked them about the request as a whole. Reads that are answered without the event loop go round this
guard: `Auth.admit_nowait` asks the rules for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from ociserver.adapt import if_any
from ociserver.auth.identity import ANONYMOUS, Action, Identity
from ociserver.auth.owned_uploads import OwnedUpload, UploadOwners
from ociserver.backend_like import BackendLike
from ociserver.compose.gate import Access, Gate
from ociserver.context import request_context
from ociserver.errors import OCIError
from ociserver.interface import BlobWriter, Descriptor, Manifest, PushedManifest, Url
from ociserver.iterators import closing

if TYPE_CHECKING:
    from ociserver.auth.rules import Rules

__all__ = ["Guard", "denied"]

_ACTIONS: Final[dict[Access, Action]] = {"read": "pull", "list": "pull", "write": "create", "delete": "delete"}
"""The least right for each kind of access. What moves a tag is decided in `push_manifest`."""

_BEFORE: Final = "\x7f"
"""Sorts after every character of a repository name."""

MAX_SOURCES: Final = 8
"""The most repositories in which a mount without a source looks for the blob. The token of a push names its target, and
the repositories that it mounts from."""

_NOT_THERE: Final = frozenset({"NAME_UNKNOWN", "BLOB_UNKNOWN"})
"""Errors of a mount whose source does not have the blob."""


class Guard(Gate):
    """Passes on what the rules allow to the client of the current request, `request_context.auth`.

    A call without a request has the rights of a client without credentials. What a client may not read looks like what
    does not exist: a mount from there is UNSUPPORTED, which starts an upload, and lists omit it. Everything else is
    DENIED.

    Args:
        backend: the whole registry.
        rules: who may do what.
        owners: bind the ids of uploads to users.
        max_sources: the most repositories in which a mount without a source looks for the blob.
    """

    def __init__(
        self, backend: BackendLike, rules: Rules, owners: UploadOwners, *, max_sources: int = MAX_SOURCES
    ) -> None:
        super().__init__(backend)
        self._rules = rules
        self._owners = owners
        self._max_sources = max_sources

    async def enter(self, access: Access, repository: str) -> str:
        self._check(_ACTIONS[access], repository)
        return repository

    # Tags

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        self._check("pull", repository, tag)
        return await self.inner.get_tag(repository, tag)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        self._check("pull", repository, tag)
        return await self.inner.resolve_tag(repository, tag)

    async def delete_tag(self, repository: str, tag: str) -> None:
        self._check("delete", repository, tag)
        await self.inner.delete_tag(repository, tag)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        identity = _client()
        for tag in tags or (None,):
            self._check("create", repository, tag)
        new = {*create_only, *(tag for tag in tags if not self._rules.allows(identity, "push", repository, tag))}
        return await self.inner.push_manifest(
            repository, content, media_type, digest=digest, tags=tags, **if_any(sorted(new))
        )

    # Blobs and uploads

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        """Without a source, the repositories of the client's token are the sources, in order of their names.

        Other repositories are not searched: that would cost more in a registry with more of them, and the time would
        tell whether others have the blob.
        """
        self._check("create", to_repository)
        identity = _client()
        named = sorted(identity.grants or ()) if from_repository is None else [from_repository]
        allowed = (name for name in named if self._rules.allows(identity, "pull", name))
        for source in islice(allowed, self._max_sources):
            try:
                return await self.inner.mount_blob(source, to_repository, digest)
            except OCIError as error:
                if error.code not in _NOT_THERE:
                    raise
        raise OCIError("UNSUPPORTED", "the blob cannot be mounted")

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        self._check("pull", repository)
        return await self.inner.locate_blob(repository, digest)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        writer = await super().push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)
        return OwnedUpload(writer, self._owners, _client().name, repository)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        self._check("create", repository)
        owner = _client().name
        inner_id = self._owners.read(owner, repository, upload_id)
        writer = await self.inner.push_blob_chunked_resume(repository, inner_id, offset=offset, digest=digest)
        return OwnedUpload(writer, self._owners, owner, repository)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        self._check("create", repository)
        return await self.inner.locate_upload(repository, self._owners.read(_client().name, repository, upload_id))

    # Lists

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """The tags that the client may pull."""
        self._check("pull", repository)
        identity = _client()
        pulls_all = self._rules.pulls_every_tag(identity, repository)
        count = 0
        # Without a limit, the inner list is read page by page, as far as it is needed.
        found = self.inner.tags(repository, start_after=start_after, limit=limit if pulls_all else None)
        async with closing(found) as tags:
            async for tag in tags:
                if pulls_all or self._rules.allows(identity, "pull", repository, tag):
                    yield tag
                    count += 1
                    if count == limit:
                        return

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """The repositories that the client may pull from.

        Only the ranges of names are read in which the patterns of the rules can match, so that a page does not cost
        more because the registry has many other repositories. A pattern that begins with `*` needs all names.
        """
        identity = _client()
        count = 0
        for prefix in self._rules.prefixes(identity):
            if prefix + _BEFORE < start_after:
                # All names with this prefix were on earlier pages.
                continue
            after = max(start_after, _just_before(prefix))
            async with closing(self.inner.repositories(start_after=after)) as names:
                async for name in names:
                    if not name.startswith(prefix):
                        break
                    if self._rules.lists(identity, name):
                        yield name
                        count += 1
                        if count == limit:
                            return

    def _check(self, action: Action, repository: str, tag: str | None = None) -> None:
        if not self._rules.allows(_client(), action, repository, tag):
            raise denied(action, repository, tag)


def denied(action: Action, repository: str, tag: str | None = None) -> OCIError:
    """The error of a request that the rules do not allow. It is the same whether the content exists or not."""
    what = repository if tag is None else f"{repository}:{tag}"
    return OCIError("DENIED", f"the rules of this registry do not let you {action} {what}")


def _client() -> Identity:
    context = request_context.get()
    identity = None if context is None else context.auth
    # Default deny: the rules decide about a call that nobody has made like about one without credentials.
    return identity if isinstance(identity, Identity) else ANONYMOUS


def _just_before(prefix: str) -> str:
    """A string that sorts before all names with this prefix, and after all other names that sort before them."""
    return prefix[:-1] + chr(ord(prefix[-1]) - 1) + _BEFORE if prefix.strip("\0") else ""
