"""The backend interface: what the handler calls, and what every registry behind it implements.

Python's spelling of Go's `ociregistry.Interface`. Four parts, so that a backend can have some of them;
a method that a backend does not have raises UNSUPPORTED. Repositories, tags and digests cross this
interface as `str` that have been validated against the spec's grammar; a backend called directly
validates what it turns into keys or paths.

Errors are `ociserver.OCIError` with the codes that each method names. Any other exception is a fault of
the backend: the client gets a 500 and the log the traceback.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

from ociserver._core import ByteRange
from ociserver.descriptor import UNKNOWN_SIZE, Descriptor
from ociserver.errors import OCIError
from ociserver.urls import shown

__all__ = [
    "CHUNK_SIZE",
    "UNKNOWN_SIZE",
    "Backend",
    "BlobReader",
    "BlobWriter",
    "Deleter",
    "Descriptor",
    "File",
    "Lister",
    "Manifest",
    "PushedManifest",
    "Reader",
    "Sink",
    "Url",
    "Writer",
    "refresh",
    "write_all",
]

CHUNK_SIZE: Final = 8 * 1024
"""What our backends ask clients for as the smallest chunk of an upload, as Go's do. Smaller ones are taken: the
request around them only costs more than what they carry."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest whole: its descriptor and its bytes, exactly as pushed."""

    descriptor: Descriptor
    content: bytes


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """What `push_manifest` did: the manifest's descriptor, the tags it set, the subject it recorded."""

    descriptor: Descriptor
    tags: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Where a blob's bytes lie: an open descriptor, the first byte, and how many; the reader closes it."""

    descriptor: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """Where a client may be sent for a blob's bytes, or to go on with an upload. Absolute, as a header has it.

    It may be signed: `repr` shows it without its query.
    """

    url: str

    def __repr__(self) -> str:
        return f"Url({shown(self.url)!r})"


class BlobReader(Protocol):
    """A blob, or one range of it, open for reading. Iterate it once, then `aclose` it.

    A reader may also have a method `part(start, stop)`, which iterates over any bytes of the blob, whatever the range,
    and may be called again when a part has been read. Then a request for a thousand ranges opens the blob once, and not
    for each: the readers of our own registries have it.
    """

    @property
    def descriptor(self) -> Descriptor:
        """Of the whole blob, whatever the range."""

    @property
    def range(self) -> tuple[int, int]:
        """(start, stop) of what is read, stop exclusive; (0, size) for the whole."""

    @property
    def location(self) -> File | Url | bytes | None:
        """Where else the same bytes are, for a server that can use it; bytes: these are all of them, in memory.

        Clients are sent to a `Url` only by `Reader.locate_blob`, which wrappers let through on purpose.
        """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces of any size; 256 KiB is a good one.

        A server holds a few of them for each client that is slow to take them: 32 clients at once cost 1.5 MiB
        each with pieces of 256 KiB, and 7 MiB with pieces of 1 MiB (granian 2.8; the rest is malloc's share).
        """
        ...

    async def aclose(self) -> None:
        """Let go of what reading holds. May be called more than once."""


class BlobWriter(Protocol):
    """One upload, open for writing by one request (spec: pushing a blob in chunks).

    An upload outlives its writers: `aclose` suspends it, and `push_blob_chunked_resume` continues it
    by its `id`, in any process.

    A writer over the network may begin with the size that its process knew last. It then has a method `refresh()`,
    which asks the registry how far the upload is.
    """

    @property
    def id(self) -> str:
        """Names the upload, before the first write and after `aclose`. Any characters.

        Of an upload at a registry elsewhere it may change whenever that answers; the newest one counts.
        """

    @property
    def size(self) -> int:
        """Bytes received so far, by all writers."""

    @property
    def chunk_size(self) -> int:
        """Smallest chunk that the backend likes, in bytes (OCI-Chunk-Min-Length); 0 for no wish."""

    async def write(self, data: bytes) -> None:
        """Append bytes.

        A writer over the network may raise any of these later, at the latest from `aclose` or `commit`, and one to the
        disk what goes wrong there.

        Raises:
            OCIError: RANGE_INVALID if the upload is not at the offset that the writer was opened for
                (seen here and not when opening, so that an empty closing PUT never fails on it), or
                another writer is at work; BLOB_UPLOAD_UNKNOWN if the upload has ended meanwhile.
        """

    async def commit(self, digest: str) -> Descriptor:
        """Verify the digest over everything received, and make it a blob of the repository.

        The size is `UNKNOWN_SIZE` if the upload is at a registry elsewhere that has not told it.

        Raises:
            OCIError: DIGEST_INVALID if it does not match, and BLOB_UPLOAD_UNKNOWN if the upload has ended.
        """

    async def cancel(self) -> None:
        """End the upload and forget its bytes. A no-op after `commit` or another `cancel`."""

    async def aclose(self) -> None:
        """Suspend: keep what was received and let go of the writer. A no-op after `commit` or `cancel`."""


class Sink(Protocol):
    """What takes the pieces of a blob without waiting, in any thread, one at a time."""

    @property
    def most(self) -> int:
        """Bytes that may be left to deal with before whoever adds should wait, until it is half of that."""

    def add(self, data: bytes, /) -> int | None:
        """Take a piece. How many bytes are left to deal with, these among them.

        None if an error has lost this piece, and all behind it: the next `write`, `commit` or `aclose` says which.
        """

    def when_left(self, backlog: int, callback: Callable[[], object], /) -> None:
        """Call `callback`, once, when no more than `backlog` bytes are left: at once, or in another thread."""

    def when_kept(self, callback: Callable[[], object], /) -> None:
        """Likewise when all that came is where it stays, or lost; what else is to be done, as hashing it, may go on."""


async def refresh(writer: BlobWriter) -> None:
    """See that the size of a writer to which nothing was written is that of the upload now."""
    ask: Callable[[], Awaitable[None]] | None = getattr(writer, "refresh", None)
    if ask is not None:
        await ask()


OpenSink = Callable[[], Awaitable[Sink | None]]
"""What takes the pieces that come next; None where they have to be written one by one."""


async def write_all(writer: BlobWriter, content: AsyncIterator[bytes]) -> None:
    """Write all of `content`, past the event loop where both let it.

    `content` may have a method `give(open_sink)`, which awaits `open_sink()` if more is to come, gives what that
    returns as much as it can, and returns: the request's body under `ociserver serve` has. `writer` may have such a
    method `open_sink`, which returns a `Sink` while pieces can be taken so, else None: the store's has. While pieces
    come the writer gets one itself at least every few seconds.

    Raises:
        Exception: what `content` and `writer` raise.
    """
    open_sink: OpenSink | None = getattr(writer, "open_sink", None)
    give: Callable[[OpenSink], Awaitable[None]] | None = getattr(content, "give", None)
    if open_sink is None or give is None:
        async for data in content:
            await writer.write(data)
        return
    await give(open_sink)
    async for data in content:
        await writer.write(data)
        await give(open_sink)


def _unsupported(method: str) -> NoReturn:
    raise OCIError("UNSUPPORTED", f"this registry does not support {method.replace('_', ' ')}")


class Reader:
    """Reads contents. Every method raises NAME_UNKNOWN for a repository that does not exist."""

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        """Open a blob, or the part of it that `range` asks for.

        Raises:
            OCIError: BLOB_UNKNOWN; RANGE_INVALID with the blob's size in `detail["size"]` if the range
                lies outside it.
        """
        _unsupported("get_blob")

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        """Read a manifest by digest. Raises MANIFEST_UNKNOWN."""
        _unsupported("get_manifest")

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        """Read the manifest that a tag points at. Raises MANIFEST_UNKNOWN."""
        _unsupported("get_tag")

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        """Describe a blob. Raises BLOB_UNKNOWN."""
        _unsupported("resolve_blob")

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        """Describe a manifest by digest. Raises MANIFEST_UNKNOWN."""
        _unsupported("resolve_manifest")

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        """Describe the manifest that a tag points at. Raises MANIFEST_UNKNOWN."""
        _unsupported("resolve_tag")

    def recall(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        """What a read would give, if that is to be had without waiting: a shortcut, which a backend need not have.

        Of a backend whose class reads in another way than the class that has this, it is not called. There is no
        `request_context`. It may be called from another thread than the event loop's, while the loop changes what
        it looks at, and for a moment after the backend was closed.

        Args:
            kind: of the request: manifest_get, manifest_head, blob_get or blob_head.
            repository: whose contents are asked for.
            reference: a tag or a digest.

        Returns:
            The descriptor and the content, which counts for manifest_get and blob_get; None to be asked in the
            usual way.

        Raises:
            OCIError: what the usual way would raise, where that is known. Whatever else is raised is not answered with.
        """
        return None

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """Where a client may fetch a blob itself, with nothing but the URL; None to give it the bytes here.

        A server asks with `Options.redirect_pulls`. Whoever has the URL needs no leave of this registry any more: what
        restricts reading says None, which is the default. Raises BLOB_UNKNOWN.
        """
        return None


class Writer:
    """Writes contents. A repository comes into being with its first blob, manifest or upload."""

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        """Store a blob in one go.

        Args:
            repository: where to.
            descriptor: its digest and size count; a size of `UNKNOWN_SIZE` is not checked.
            chunks: the bytes, in pieces of any size.

        Raises:
            OCIError: DIGEST_INVALID or SIZE_INVALID if the bytes are others than described.
        """
        _unsupported("push_blob")

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        """Start an upload.

        Args:
            repository: where to.
            chunk_size: bytes that the caller would like to send at a time; 0 for no wish.
            algorithm: what the closing digest will probably use (spec: `digest-algorithm`).
        """
        _unsupported("push_blob_chunked")

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        """Continue an upload.

        Args:
            repository: the one that it was started in.
            upload_id: `BlobWriter.id`.
            offset: where the caller's bytes begin, as their Content-Range says; a wrong one is reported by the first
                `write`. None for wherever the upload stopped: the bytes are appended.
            digest: what the closing request already names, so that a backend may stream its body on.

        Raises:
            OCIError: BLOB_UPLOAD_UNKNOWN; a writer over the network may raise it later.
        """
        _unsupported("push_blob_chunked_resume")

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        """Where a client may go on with an upload itself; None to go on here.

        A server asks with `Options.redirect_pushes`; see `locate_blob`.
        """
        return None

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        """Link a blob of another repository into this one, without its bytes.

        Args:
            from_repository: where it is; None for anywhere that the caller may read.
            to_repository: where to link it.
            digest: which one.

        Raises:
            OCIError: NAME_UNKNOWN, BLOB_UNKNOWN, UNSUPPORTED: the server then starts an upload instead.
        """
        _unsupported("mount_blob")

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        """Store a manifest and set its tags: all of them, or nothing at all.

        Args:
            repository: where to.
            content: the bytes, kept exactly.
            media_type: of the content, without parameters; decides how it is read. The handler has compared it with
                the `mediaType` of the content.
            digest: what the content must hash to; None for its sha256.
            tags: tags to point at it.

        Raises:
            OCIError: DIGEST_INVALID; MANIFEST_INVALID, also if the content is stored as another type already, which it
                keeps; MANIFEST_BLOB_UNKNOWN; DENIED.
        """
        _unsupported("push_manifest")


class Deleter:
    """Deletes. Every method raises NAME_UNKNOWN for a repository that does not exist."""

    async def delete_blob(self, repository: str, digest: str) -> None:
        """Unlink a blob from this repository; others keep theirs. Raises BLOB_UNKNOWN, DENIED."""
        _unsupported("delete_blob")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and the tags that point at it. Raises MANIFEST_UNKNOWN, DENIED."""
        _unsupported("delete_manifest")

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Delete a tag; the manifest stays. Raises MANIFEST_UNKNOWN, DENIED."""
        _unsupported("delete_tag")


class Lister:
    """Lists, sorted by code point, strictly after `start_after`.

    `limit` is how many the caller will take: a hint that lets a page cost a page. Without it a list is
    read page by page: each page is consistent in itself.
    """

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Names of the repositories that hold something."""
        _unsupported("repositories")

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Tags of a repository. The first step raises NAME_UNKNOWN if there is no such repository."""
        _unsupported("tags")

    def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        """Manifests whose subject is `digest`, sorted by digest, with artifact type and annotations.

        Args:
            repository: where to look.
            digest: the subject; it need not exist.
            artifact_type: only those of this type.
            start_after: a digest.
            limit: see the class.
        """
        _unsupported("referrers")


class Backend(Reader, Writer, Deleter, Lister):
    """A registry: all four parts, opened and closed as an async context manager.

    Subclass this and override what you have. A wrapper opens and closes what it wraps.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


_METHODS: Final = tuple(name for part in (Reader, Writer, Deleter, Lister) for name in vars(part) if name[0] != "_")


def complete(backend: Any) -> Backend:
    """Give any object with some of the methods the rest of them, which raise UNSUPPORTED.

    Raises:
        TypeError: it has none of the methods.
    """
    if isinstance(backend, Backend):
        return backend
    if not any(hasattr(backend, name) for name in _METHODS):
        raise TypeError(f"{backend!r} is not a backend: it has no method of ociserver.Backend, such as get_manifest")
    return _Completed(backend)


_RECALLED: Final = ("get_blob", "get_manifest", "get_tag", "resolve_blob", "resolve_manifest", "resolve_tag")


Recall = Callable[[str, str, str], tuple[Descriptor, bytes | None] | None]
"""`Backend.recall` of one."""


def recall_of(backend: Backend) -> Recall | None:
    """`Backend.recall`, where it stands for what the backend would read.

    A subclass may let fewer read, or find something else: then what it inherits does not speak for it.
    """
    owner = _owner(backend, "recall")
    if owner is Backend or any(_owner(backend, name) is not owner for name in _RECALLED):
        return None
    return backend.recall


def _owner(backend: Backend, name: str) -> object:
    """Who has a method: a class, or the object itself."""
    if name in vars(backend):
        return backend
    return next(owner for owner in type(backend).__mro__ if name in vars(owner))


class _Completed(Backend):
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        for name in _METHODS:
            method = getattr(inner, name, None)
            if method is not None:
                setattr(self, name, method)

    async def __aenter__(self) -> Self:
        if hasattr(self._inner, "__aenter__"):
            await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if hasattr(self._inner, "__aexit__"):
            await self._inner.__aexit__(kind, error, traceback)
