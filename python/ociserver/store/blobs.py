"""`Blobs`: what a store needs of the place where it keeps the contents that are too large for its database.

Theory of operation
===================
A content has a key. Only the metadata knows which digest a key has, and who needs it. While a request writes to an
upload, its content is an `UploadContent`, whose `key` is known at the latest when it is finished. The commit of the
upload, a transaction of the metadata, makes this content a blob: nothing is moved or copied. From then on it never
changes, and its key is never used again.

The order of the steps is what survives a crash:

- The bytes come before the metadata: `UploadContent.finish`, then the transaction that names the key.
- They go after the metadata: the transaction that names the key no longer, then `Blobs.delete`.

So a crash leaves contents that nothing names, and never a name without its content. Whatever was interrupted may be
done again, by the same process or another.

How contents that nothing names are found
=========================================
- A folder is scanned (`Blobs.scan`), and what nothing names is deleted at once: a reader has its file open.
- A bucket is not scanned. Each object is recorded in the table `objects` before it is made, until a copy names it; a
  transaction that removes a name records the object again (`Blobs.records`). Collection deletes what is recorded and
  belongs to no upload, after a time in which nobody can still read it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from ociserver.blob_io import BlobReader, Sink
from ociserver.store.transaction import Metadata
from ociserver.values import Descriptor, Url

__all__ = [
    "IN_ROW",
    "Blobs",
    "ContentStorage",
    "Found",
    "HeldError",
    "Recorded",
    "Records",
    "Status",
    "UnreadableError",
    "UploadContent",
]

IN_ROW: Final = b"\xff" * 16
"""Begins the state of an upload whose bytes are all in its row, behind this. The states of `UploadContent` do not."""


class HeldError(Exception):
    """A request, of this process or another, holds the upload."""


class UnreadableError(Exception):
    """The bytes of a content cannot be read, although it is there."""


@dataclass(frozen=True, slots=True)
class Found:
    """A content that a scan has found. `step` is the step of the scan that found it, below `Blobs.scan_steps`."""

    step: int
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Status:
    """The content of an upload: its bytes, and when it was last written to, in seconds since 1970."""

    size: int
    modified: float


class UploadContent(Sink, Protocol):
    """The content of an upload, which one request holds: nobody else can write to it until `close`.

    `restore` is called first, and once. A request that is cancelled may leave bytes that were given to it. They count,
    as the next `restore` finds them.
    """

    @property
    def size(self) -> int:
        """Bytes that were given to it. Until `written`, fewer may be stored."""

    @property
    def key(self) -> str:
        """The key that `finish` keeps the content under."""

    @property
    def can_finish_again(self) -> bool:
        """Whether the bytes are still known after `finish` has failed. After a failed sync of a disk they are not."""

    @property
    def holder(self) -> str | None:
        """Who holds the upload, if the metadata knows it: then only this holder may record the upload or end it."""

    async def restore(self, size: int, state: bytes, algorithm: str) -> bytes | None:
        """Continue where the content ends, which may be behind the recorded size: what a killed process has stored
        counts.

        Args:
            size: bytes that were recorded. 0: nothing was recorded, and what is there is removed.
            state: the state that was recorded with them, by any process: see `suspend`.
            algorithm: the algorithm of the digest that the upload most likely gets.

        Returns:
            The state to record at once, with the new size, because recorded bytes are missing; None otherwise.
        """

    async def write(self, data: bytes) -> None:
        """Append bytes. It waits while there is a backlog.

        Raises:
            OCIError: this piece or an earlier one could not be stored. It is raised once. The content then ends before
                that piece, and takes more pieces.
        """

    async def open_sink(self) -> Sink:
        """Get ready for pieces by `add`, and return itself."""

    async def written(self) -> None:
        """Wait until all bytes are stored or lost, including those of a cancelled caller."""

    def check(self) -> None:
        """Raise the error of a piece, once."""

    def is_deleted(self) -> bool:
        """Whether the content was deleted. Then its upload has ended. It is called for each piece, so it is cheap."""

    async def suspend(self) -> bytes | None:
        """End writing, so that any process can continue. What is stored now survives the process.

        Returns:
            The state to record with the size, for `restore`; None if the recorded state is enough. Its bytes mean
            nothing to others. They never begin with `IN_ROW`.
        """

    async def recorded(self) -> None:
        """The state of `suspend` is recorded, and the request ends: what only an older record needs may go."""

    async def put_back(self) -> None:
        """End without a write: the recorded state stays valid."""

    async def digest(self, algorithm: str) -> str:
        """The digest of all bytes. Raises the error of a piece."""

    async def seal(self) -> bytes | None:
        """Prepare for `finish`, when the digest is known to be right.

        Returns:
            The state to record before `finish`, because otherwise a failure after `finish` would lose bytes that an
            earlier request has recorded; None if there is nothing to record.
        """

    async def finish(self) -> None:
        """Make the content survive a power cut, under its key. Nothing may be written afterwards.

        It may be called again, by the next request, if the commit was not made.

        Raises:
            OCIError: BLOB_UPLOAD_INVALID if bytes are missing that were written.
        """

    def ended(self) -> None:
        """The upload has ended, with a blob or without."""

    async def cut(self, size: int) -> None:
        """Remove what is behind the first `size` bytes, which frees space."""

    def close(self) -> None:
        """Let others hold the upload, as soon as nothing writes to it any more. A second call does nothing."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An object that no copy names and no upload needs, and its multipart upload if there was one."""

    key: str
    multipart: str | None


class Records(Protocol):
    """Deletes objects that were recorded in the table `objects`."""

    @property
    def delete_after_s(self) -> float:
        """Seconds after which an object that nothing needs may be deleted: nobody can still read it or write it."""

    async def page(self, before: int, after: str, limit: int) -> list[Recorded]:
        """Objects that nothing needs since `before`, with larger keys than `after`, in order."""

    async def delete(self, objects: Sequence[Recorded]) -> None:
        """Delete objects of a page, their multipart uploads, and then their records. It may be done twice.

        Raises:
            OCIError: 503; then some may be deleted, and all may be tried again.
        """


class Blobs(Protocol):
    """The contents of a store. Any number of processes may use them at the same time.

    A method that finds the storage broken or full raises OCIError: 503 or 507.
    """

    async def open(self) -> None:
        """Prepare the storage. It may be called again after `close`, and in any number of processes."""

    async def close(self) -> None:
        """Wait for what is under way."""

    @property
    def unavailable(self) -> str | None:
        """Why contents cannot be stored or read, as a text for people; None if, as far as is known, they can."""

    # Contents that the metadata names

    async def read(self, key: str, descriptor: Descriptor, start: int, stop: int) -> BlobReader | None:
        """Read a part of a content, to its end even if the content is deleted meanwhile.

        None if the content is missing or has another size than its descriptor: the blob is then unknown, so that a
        client pushes it again.
        """

    async def locate(self, key: str, descriptor: Descriptor) -> Url | None:
        """Where a client can get a content without this server; None if it cannot."""

    async def size(self, key: str) -> int | None:
        """Bytes of a content that is finished; None if there is none."""

    def seems_whole(self, key: str, size: int) -> bool:
        """Whether a content is there and has this size, as far as that is known without a network. See `is_whole`."""

    async def is_whole(self, key: str, size: int) -> bool:
        """Whether a content is there and has this size."""

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        """Read a content and compute its digest; None if it is missing or has another size.

        Raises:
            UnreadableError: its bytes cannot be read.
        """

    # Uploads

    @property
    def chunk_size(self) -> int:
        """Bytes of the smallest chunk of an upload that causes no extra writes and reads (`BlobWriter.chunk_size`)."""

    def upload_size(self, upload_id: str, recorded: int) -> int:
        """Bytes of the content of an upload, while nobody writes to it.

        Args:
            upload_id: the id of an upload for which a content was recorded.
            recorded: the recorded size.
        """

    def is_begun(self, upload_id: str) -> bool:
        """Whether there is a content for this upload that may not be recorded yet. False if that is not known here."""

    async def hold(self, key: str, *, make: bool) -> UploadContent | None:
        """Become the only writer of the content of an upload, among all requests of all processes.

        The hold ends with `UploadContent.close`, or when the process dies. Read how far the upload is only after this:
        before, another process may have committed it, and its content belongs to a blob.

        Args:
            key: the id of the upload.
            make: whether to make an empty content if there is none. If not, the result is None.

        Raises:
            OCIError: RANGE_INVALID while another request holds it.
        """

    def is_held(self, key: str) -> bool:
        """Whether a request, of any process, holds the content of an upload. False if there is none."""

    def closed_to_writers(self, key: str) -> AbstractContextManager[Status | None]:
        """Keep every request of every process from holding the content of an upload.

        None if there is none, or if a transaction that ends the upload is enough to keep them out.

        It does not exclude itself: several may have it at the same time.

        Raises:
            HeldError: a request holds it.
        """

    # What nothing needs

    @property
    def records(self) -> Records | None:
        """What collection deletes instead of what a scan finds; None if a scan finds it."""

    async def delete(self, keys: Collection[str]) -> None:
        """Delete contents, of blobs and of uploads. What does not exist counts as deleted.

        With `records` this does nothing: collection deletes them.

        The transactions that name these keys no longer must be committed. They first become durable, if they are not:
        after a power cut no row may name a content that is gone.
        """

    def scan(self, page_size: int) -> AsyncIterator[list[Found]]:
        """All contents, of blobs and of uploads, in pages, in the order of the steps of the scan.

        A content that is made or deleted meanwhile may be among them or not. Ask the metadata about a page only after
        it was found: then a content that is found and not named is needed by nothing.
        """

    @property
    def scan_steps(self) -> int:
        """The number of steps of a scan, for progress."""


class ContentStorage(Protocol):
    """Where a store keeps its large contents, instead of in its folder."""

    def blobs(self, database: Metadata) -> Blobs:
        """The contents of a store with this metadata."""
