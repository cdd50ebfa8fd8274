"""Blobs that are read and written piece by piece: what the methods of a backend return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from ociserver.values import Descriptor, File, Url

__all__ = ["BlobReader", "BlobWriter", "OpenSink", "Sink"]


class BlobReader(Protocol):
    """A blob, or one range of it, open for reading. Iterate it once, then `aclose` it.

    A reader may also have a method `part(start, stop)`. It iterates over any bytes of the blob, also outside the range,
    and may be called again when a part has been read. Then a request for a thousand ranges opens the blob only once.
    The readers of our own registries have this method.
    """

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of the whole blob, whatever the range."""

    @property
    def range(self) -> tuple[int, int]:
        """(start, stop) of the bytes that are read, stop exclusive; (0, size) for the whole blob."""

    @property
    def location(self) -> File | Url | bytes | None:
        """Where else the same bytes are, for a server that can use this. `bytes` are all the bytes, in memory.

        A handler redirects clients only to a `Url` from `Reader.locate_blob`, which a wrapper forwards on purpose.
        """

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Pieces of any size. 256 KiB is a good size.

        A server holds a few pieces for each slow client: with 32 concurrent clients, this took 1.5 MiB for each with
        pieces of 256 KiB, and 7 MiB with pieces of 1 MiB (granian 2.8; a part of this is overhead of malloc).
        """
        ...

    async def aclose(self) -> None:
        """Release what the reader holds. This may be called more than once."""


class BlobWriter(Protocol):
    """One upload, open for writing by one request (spec: pushing a blob in chunks).

    An upload outlives its writers: `aclose` suspends it, and any process can continue it by its `id`
    (`push_blob_chunked_resume`).

    A writer over the network may begin with the size that its process knew last. It then has a method `refresh()`,
    which asks the registry how far the upload is (`ociserver.adapt.refresh`). A writer that takes pieces without
    waiting has a method `open_sink()`, which returns a `Sink` while this is possible, else None.
    """

    @property
    def id(self) -> str:
        """The id of the upload, before the first write and after `aclose`. It may have any characters.

        The id of an upload at a remote registry may change with each answer of that registry. The newest one counts.
        """

    @property
    def size(self) -> int:
        """Bytes received so far, by all writers."""

    @property
    def chunk_size(self) -> int:
        """The smallest chunk that the backend recommends, in bytes (OCI-Chunk-Min-Length); 0: none."""

    async def write(self, data: bytes) -> None:
        """Append bytes.

        A writer over the network may raise these errors later, at the latest from `aclose` or `commit`. A writer to the
        disk may do the same with errors of the disk.

        Raises:
            OCIError: RANGE_INVALID if the upload does not end at the offset that the writer was opened for (raised here
                and not by opening, so that it never fails an empty closing PUT), or another writer is active;
                BLOB_UPLOAD_UNKNOWN if the upload has ended.
        """

    async def commit(self, digest: str) -> Descriptor:
        """Verify the digest of all bytes, and make them a blob of the repository.

        The size is `UNKNOWN_SIZE` if the upload is at a remote registry that has not reported it.

        Raises:
            OCIError: DIGEST_INVALID if the digest does not match, and BLOB_UPLOAD_UNKNOWN if the upload has ended.
        """

    async def cancel(self) -> None:
        """End the upload and delete its bytes. Does nothing after `commit` or another `cancel`."""

    async def aclose(self) -> None:
        """Suspend the upload: keep its bytes, and close the writer. Does nothing after `commit` or `cancel`."""


class Sink(Protocol):
    """Takes the pieces of a blob without waiting. Any thread may call it, one at a time."""

    @property
    def high_water_mark(self) -> int:
        """High-water mark of the backlog, in bytes. Above it the caller waits until half of it is left."""

    def add(self, data: bytes, /) -> int | None:
        """Take a piece.

        Returns:
            The backlog in bytes, including this piece. None if this piece and all later ones are lost, because of an
            error: the next `write`, `commit` or `aclose` of the writer raises the error.
        """

    def when_left(self, backlog: int, callback: Callable[[], object], /) -> None:
        """Call `callback` once, when no more than `backlog` bytes are left: now, or later in another thread."""

    def when_kept(self, callback: Callable[[], object], /) -> None:
        """Call `callback` once, when every piece is stored, or lost by an error. Hashing may still go on."""


OpenSink = Callable[[], Awaitable[Sink | None]]
"""Opens the `Sink` for the next pieces. None: the caller has to write them one by one."""
