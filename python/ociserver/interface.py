"""The interface of a backend: the handler calls it, and each registry behind a handler implements it.

It corresponds to Go's `ociregistry.Interface`. It has four parts, and a backend may implement only some of them: a
missing method raises UNSUPPORTED. The handler has checked repositories, tags and digests against the grammar of the
spec. But other code may call a backend directly, so a backend checks what it turns into keys or paths.

Errors are `ociserver.OCIError` with the codes that each method names. Any other exception is a fault of the backend:
the client gets a 500, and the log gets the traceback.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from ociserver._core import ByteRange
from ociserver.blob_io import BlobReader, BlobWriter, OpenSink, Sink
from ociserver.errors import OCIError
from ociserver.spool import Spool, SpoolLimits
from ociserver.spooled_upload import SpooledUpload
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
    "SpoolLimits",
    "Url",
    "Writer",
    "end_spool",
]

CHUNK_SIZE: Final = 8 * 1024
"""The smallest chunk of an upload that our backends ask clients for, as Go's do. Smaller chunks are accepted, but their
requests cost more than the bytes in them."""


ReadNowait = Callable[[str, str, str], tuple[Descriptor, bytes | None] | None]
"""`Reader.read_nowait` of one backend."""


def _unsupported(method: str) -> NoReturn:
    raise OCIError("UNSUPPORTED", f"this registry does not support {method.replace('_', ' ')}")


class Reader:
    """Reads contents. Every method raises NAME_UNKNOWN for a repository that does not exist.

    A class whose `read_nowait` may be used declares that in its definition: `class Mine(Backend, reads_nowait=True)`. A
    subclass does not inherit the declaration, because it may allow fewer clients to read, or read something else. It
    has to declare it again.
    """

    reads_nowait: bool = False
    """Whether `read_nowait` agrees with the other methods of this class, or of this object."""

    def __init_subclass__(cls, *, reads_nowait: bool = False, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if reads_nowait and cls.read_nowait is Reader.read_nowait:
            raise TypeError(f"{cls.__name__} declares reads_nowait, and has no read_nowait")
        cls.reads_nowait = reads_nowait

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        """Open a blob, or the part of it that `range` asks for.

        Raises:
            OCIError: BLOB_UNKNOWN; RANGE_INVALID if the range lies outside the blob, with the size of the blob in
                `detail["size"]`.
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
        """The result of a read, if the backend knows it without waiting. A backend need not have this method.

        It is called only if the class declares `reads_nowait`. There is no `request_context`. Any thread may call it,
        while the event loop changes the data, and also for a moment after the backend was closed.

        Args:
            kind: of the request: manifest_get, manifest_head, blob_get or blob_head.
            repository: the repository to read from.
            reference: a tag or a digest.

        Returns:
            The descriptor and the content, which is used for manifest_get and blob_get. None: the caller has to use the
            other methods.

        Raises:
            OCIError: what the other methods would raise, if that is known. After any other exception, the caller uses
                the other methods.
        """
        return None

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        """A URL where a client can fetch a blob, without credentials. None: the client gets the bytes here.

        The handler calls this with `Options.redirect_pulls`. The URL alone gives access to the blob, so a backend that
        restricts reading returns None, which is the default. Raises BLOB_UNKNOWN.
        """
        return None


class Writer:
    """Writes contents. The first blob, manifest or upload creates a repository.

    A backend with `push_blob` need not have uploads in chunks. They then wait in temporary files (`ociserver.spool`),
    and `push_blob` gets all bytes at the end. One process has such an upload: with several workers, the next request
    of the upload fails in another worker, BLOB_UPLOAD_UNKNOWN.
    """

    spool_limits: SpoolLimits = SpoolLimits()
    """Limits on uploads that wait for `push_blob`."""

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        """Store a blob in one request.

        Args:
            repository: the repository to push to.
            descriptor: only its digest and size are used. A size of `UNKNOWN_SIZE` is not checked.
            chunks: the bytes, in pieces of any size.

        Raises:
            OCIError: DIGEST_INVALID or SIZE_INVALID if the bytes do not match the descriptor.
        """
        _unsupported("push_blob")

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        """Start an upload.

        Args:
            repository: the repository to push to.
            chunk_size: bytes that the caller intends to send at a time; 0: not known.
            algorithm: the algorithm that the digest of the commit will probably have (spec: `digest-algorithm`).

        Raises:
            OCIError: by default also SIZE_INVALID and TOOMANYREQUESTS, for a limit of `spool_limits`.
        """
        spool = _spool_of(self, "push_blob_chunked")
        return SpooledUpload(spool, spool.start(repository), 0, self.push_blob)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        """Continue an upload.

        Args:
            repository: the repository in which the upload was started.
            upload_id: `BlobWriter.id`.
            offset: where the caller's bytes begin, from their Content-Range. The first `write` raises RANGE_INVALID if
                the upload does not end there. None: the bytes are appended, wherever the upload ends.
            digest: the digest of the commit, if the request has it, so that a backend can forward the body at once.

        Raises:
            OCIError: BLOB_UPLOAD_UNKNOWN. A writer over the network may raise it later.
        """
        spool = _spool_of(self, "push_blob_chunked_resume")
        return SpooledUpload(spool, spool.find(repository, upload_id), offset, self.push_blob)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        """A URL where a client can continue an upload, without credentials. None: it continues here.

        The handler calls this with `Options.redirect_pushes`; see `locate_blob`.
        """
        return None

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        """Link a blob of another repository into this one, without its bytes.

        Args:
            from_repository: the repository that has the blob; None: any that the caller may read.
            to_repository: the repository that gets the blob.
            digest: the digest of the blob.

        Raises:
            OCIError: NAME_UNKNOWN, BLOB_UNKNOWN, UNSUPPORTED: the handler then starts an upload instead.
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
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        """Store a manifest and set its tags, as a whole or not at all.

        Args:
            repository: the repository to push to.
            content: the bytes, which are stored unchanged.
            media_type: the type of the content, without parameters. It says how the content is read. The handler has
                compared it with the `mediaType` of the content.
            digest: the digest that the content must have; None: its sha256.
            tags: tags to point at the manifest.
            create_only: those of `tags` that must not be moved: DENIED if one of them points at another manifest, as
                decided in the transaction that sets them. Callers pass this argument only if there are any.

        Raises:
            OCIError: DIGEST_INVALID; MANIFEST_INVALID, also if the content is stored with another type already, which
                it keeps; MANIFEST_BLOB_UNKNOWN; DENIED.
        """
        _unsupported("push_manifest")


def _spool_of(writer: Writer, method: str) -> Spool:
    """The spool of a backend, which is made at the first upload: a subclass need not call `__init__`."""
    if getattr(writer.push_blob, "__func__", None) is Writer.push_blob:
        _unsupported(method)
    spool: Spool | None = vars(writer).get("_spool")
    if spool is None:
        spool = vars(writer)["_spool"] = Spool(writer.spool_limits)
    return spool


def end_spool(backend: object) -> None:
    """End the uploads that wait for `push_blob` of this object. A later upload makes a new spool."""
    spool: Spool | None = getattr(backend, "__dict__", {}).pop("_spool", None)
    if spool is not None:
        spool.close()


class Deleter:
    """Deletes. Every method raises NAME_UNKNOWN for a repository that does not exist."""

    async def delete_blob(self, repository: str, digest: str) -> None:
        """Unlink a blob from this repository. Other repositories keep it. Raises BLOB_UNKNOWN, DENIED."""
        _unsupported("delete_blob")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and the tags that point at it. Raises MANIFEST_UNKNOWN, DENIED."""
        _unsupported("delete_manifest")

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Delete a tag. The manifest stays. Raises MANIFEST_UNKNOWN, DENIED."""
        _unsupported("delete_tag")


class Lister:
    """Lists names, sorted by code point, strictly after `start_after`.

    `limit` is how many items the caller will take, so that a backend need not read more. Without it, a list is read
    page by page, and each page is consistent in itself.
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
            repository: the repository to read.
            digest: the digest of the subject, which need not exist.
            artifact_type: only manifests of this artifact type; None: all.
            start_after: a digest.
            limit: see the class.
        """
        _unsupported("referrers")


class Backend(Reader, Writer, Deleter, Lister):
    """A registry: all four parts. It is opened and closed as an async context manager.

    Subclass this and override the methods that you support. A wrapper opens and closes what it wraps.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        end_spool(self)
