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
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol, Self

from ociserver._core import ByteRange
from ociserver.errors import OCIError
from ociserver.values import UNKNOWN_SIZE, Descriptor, File, Manifest, PushedManifest, Url

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
    "OpenSink",
    "PushedManifest",
    "ReadNowait",
    "Reader",
    "Sink",
    "Url",
    "Writer",
]

CHUNK_SIZE: Final = 8 * 1024
"""What our backends ask clients for as the smallest chunk of an upload, as Go's do. Smaller ones are taken: the
request around them only costs more than what they carry."""


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
    which asks the registry how far the upload is (`ociserver.adapt.refresh`). A writer that takes pieces without
    waiting has a method `open_sink()`, which returns a `Sink` while it can do so, else None.
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
    """Takes the pieces of a blob without waiting. Any thread may call it, one at a time."""

    @property
    def high_water_mark(self) -> int:
        """High-water mark of the backlog, in bytes: above it the caller waits until half of that is left."""

    def add(self, data: bytes, /) -> int | None:
        """Take a piece.

        Returns:
            The backlog in bytes, this piece included. None if an error has lost this piece and all that follow: the
            next `write`, `commit` or `aclose` of the writer raises the error.
        """

    def when_left(self, backlog: int, callback: Callable[[], object], /) -> None:
        """Call `callback` once, when no more than `backlog` bytes are left: now, or later in another thread."""

    def when_kept(self, callback: Callable[[], object], /) -> None:
        """Call `callback` once, when every piece is stored, or lost by an error. Hashing may still go on."""


OpenSink = Callable[[], Awaitable[Sink | None]]
"""Opens what takes the pieces that come next. It returns None where the caller has to write them one by one."""

ReadNowait = Callable[[str, str, str], tuple[Descriptor, bytes | None] | None]
"""`Reader.read_nowait` of one backend."""


def _unsupported(method: str) -> NoReturn:
    raise OCIError("UNSUPPORTED", f"this registry does not support {method.replace('_', ' ')}")


class Reader:
    """Reads contents. Every method raises NAME_UNKNOWN for a repository that does not exist.

    A class whose `read_nowait` may be used says so where it is defined: `class Mine(Backend, reads_nowait=True)`. A
    subclass does not inherit that, because it may let fewer clients read, or read something else: it declares it again.
    """

    reads_nowait: bool = False
    """Whether `read_nowait` agrees with the other methods of this very class, or object."""

    def __init_subclass__(cls, *, reads_nowait: bool = False, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if reads_nowait and cls.read_nowait is Reader.read_nowait:
            raise TypeError(f"{cls.__name__} declares reads_nowait, and has no read_nowait")
        cls.reads_nowait = reads_nowait

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

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        """What a read would give, if the backend knows that without waiting. A backend need not have this.

        It is called only if the class declares `reads_nowait`. There is no `request_context`. Any thread may call it,
        while the event loop changes what it looks at, and also for a moment after the backend was closed.

        Args:
            kind: of the request: manifest_get, manifest_head, blob_get or blob_head.
            repository: the repository to read from.
            reference: a tag or a digest.

        Returns:
            The descriptor and the content, which counts for manifest_get and blob_get. None: the caller has to use the
            other methods.

        Raises:
            OCIError: what the other methods would raise, where that is known. Any other exception makes the caller use
                the other methods.
        """
        return None

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """Where a client may fetch a blob itself, with nothing but the URL; None to give it the bytes here.

        A server asks with `Options.redirect_pulls`. The URL alone gives access to the blob, so a backend that restricts
        reading returns None, which is the default. Raises BLOB_UNKNOWN.
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
