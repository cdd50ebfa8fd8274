"""Object storage for ociserver: one bucket of S3, Google Cloud Storage or Azure, over the Rust crate `object_store`.

No call waits for the network. A call with a parameter `done` returns at once, and `done(result, None)` or
`done(None, error)` follows exactly once, from one thread of this module that makes all these calls in turn: `done` must
be short, for example `loop.call_soon_threadsafe`. An invalid argument raises ValueError or TypeError at once.

A request is sent again for `retry_s` while its error may heal. An error arrives as one of these exceptions. Its message
names the operation and the cause. It never has a key, a signature, a URL or a secret, because it has nothing of what the
store has sent but the status and the error code.

* ObjectError
  x NotFound
  x Denied
  x Unavailable

Threads that do the work are made for each process. After a fork, open the bucket again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, final

__all__ = [
    "MAX_PARTS",
    "Bucket",
    "Denied",
    "NotFound",
    "ObjectError",
    "PartWriter",
    "Reading",
    "Unavailable",
    "__version__",
    "build_profile",
]

__version__: Final[str]
"""Version of the package: that of ociserver, in PEP 440 form."""

build_profile: Final[Literal["debug", "release"]]
"""How this extension was compiled. A debug build is many times slower."""

MAX_PARTS: Final[int]
"""The most parts of a multipart upload. A content that needs more fails with ObjectError."""

class ObjectError(Exception):
    """An operation failed, and the same call would fail again."""

class NotFound(ObjectError):
    """There is no such multipart upload: it was never begun, or is complete, or was aborted.

    A missing object is a result and not an error. If the bucket itself does not exist, it is an ObjectError.
    """

class Denied(ObjectError):
    """The store refuses the credentials, or these have no right to do it (401, 403)."""

class Unavailable(ObjectError):
    """It may heal: no connection, no answer in time, or an error of the store (408, 429, 5xx)."""

@final
class Bucket:
    """A bucket, or the objects in it whose keys begin with a prefix. Opening it sends nothing.

    Keys are paths of plain names, such as `ab/abcdef`. The type of each object is `application/octet-stream`.

    Args:
        url: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
        options: options of `object_store` by name, such as `endpoint`, `region`, `access_key_id`, `secret_access_key`,
            `virtual_hosted_style_request`, or `checksum_algorithm` (`sha256` or `crc64nvme`: the store then checks each
            part and object). They override the environment: `AWS_*`, `GOOGLE_*`, `AZURE_*`. Without any credentials,
            those of the instance, the container or the workload identity are used, and renewed. Plain HTTP is used
            exactly if the endpoint begins with `http://`.
        public_endpoint: the endpoint in signed URLs, if clients reach the store by another one. S3 only.
        retry_s: time after which a request is not sent again.
        timeout_s: the longest wait for an answer, and then for the next bytes of it. The answer to a large body may take
            longer, by the time that the body takes at 64 KiB per second. So an operation that gets nothing ends
            `retry_s + timeout_s` after its start at the latest, plus the time of one body.

    Raises:
        ValueError: the URL or an option cannot be used. The message does not repeat values.
    """

    def __new__(
        cls,
        url: str,
        options: Mapping[str, str] | None = None,
        *,
        public_endpoint: str | None = None,
        retry_s: float = 20.0,
        timeout_s: float = 30.0,
    ) -> Bucket: ...
    def put(self, key: str, data: bytes, done: Callable[[None, ObjectError | None], object]) -> None:
        """Store an object in one request. An object with this key is replaced."""
    def size(self, key: str, done: Callable[[int | None, ObjectError | None], object]) -> None:
        """Get the size of an object in bytes. None if it does not exist.

        One request. A second one if the object does not exist, which tells a missing object from a missing bucket.
        """
    def read(
        self, key: str, start: int, stop: int, done: Callable[[Reading | None, ObjectError | None], object]
    ) -> None:
        """Begin to read a range, which is not empty. `done` is called when the headers of the answer have come.

        The result is None if the object does not exist. A range that begins behind the end is an ObjectError.
        """
    def delete(self, keys: list[str], done: Callable[[None, ObjectError | None], object]) -> None:
        """Delete objects. Those that do not exist count as deleted.

        S3 and Azure delete many with one request. After an error the others are still deleted, and the first error is
        reported.
        """
    def create_multipart(self, key: str, done: Callable[[str | None, ObjectError | None], object]) -> None:
        """Begin a multipart upload, and get its id. Any process can continue it by key and id."""
    def complete(
        self, key: str, multipart_id: str, etags: list[str], done: Callable[[None, ObjectError | None], object]
    ) -> None:
        """Make an object of the parts of a multipart upload, in this order. An object with this key is replaced.

        The error is NotFound if there is no such upload. An upload that is complete already may count as one, or be
        completed again without a change. So after NotFound, see whether the object has the right size. The error is
        ObjectError if a part is missing, or was replaced after its ETag was noted, or if a part other than the last has
        less than 5 MiB (on S3).
        """
    def abort(self, key: str, multipart_id: str, done: Callable[[None, ObjectError | None], object]) -> None:
        """End a multipart upload, and delete its parts. One that does not exist counts as ended.

        On Azure this does nothing: parts that no object was made of disappear after a week.
        """
    def sign(
        self,
        key: str,
        expires_s: float,
        query: Mapping[str, str],
        done: Callable[[str | None, ObjectError | None], object],
    ) -> None:
        """Get a URL that anybody can GET the object from, for `expires_s` (at most 7 days).

        `query` is signed with it: `{"response-content-type": "application/octet-stream"}` sets a header of the answer.
        It sends nothing, except to renew credentials; Google's service accounts without a key sign by request.
        """
    def list(
        self, after: str, limit: int, done: Callable[[list[tuple[str, int]] | None, ObjectError | None], object]
    ) -> None:
        """Get the keys after `after` ("": from the beginning), in order, with their sizes, at most `limit`.

        One request for 1,000 keys. On Azure it begins at the first key each time.
        """
    def fileno(self) -> int:
        """Return a file descriptor that can be read while `arrived` has something to return."""
    def arrived(self) -> Sequence[Any]:
        """Return each `waiter` of `Reading.take` whose wait has ended, once."""
    def requests(self) -> dict[str, int]:
        """Return the number of requests so far, by operation: the methods, and `put_part`. Repetitions count."""

@final
class Reading:
    """A range of an object, while it is fetched.

    If the connection breaks, it goes on with a request for the rest, as long as the object has the same ETag. It gives up
    when such a request has brought nothing. One piece is fetched ahead. The store may close a connection whose
    reader is slow, which costs another request.
    """

    @property
    def size(self) -> int:
        """Bytes of the whole object."""
    def take(self, waiter: object) -> bytes | None:
        """Return the next piece, of 512 KiB to 1 MiB, the last one less. b"" at the end. An error is repeated by each call.

        None if it has not arrived. When it has, or the reading was closed, `Bucket.arrived` returns `waiter`, once. Only
        one may wait.
        """
    def close(self) -> None:
        """Stop fetching. It may be called more than once."""

@final
class PartWriter:
    """Hashes bytes, cuts them into equal parts, and stores these as a multipart upload. It is a `Sink`.

    The thread that calls `add` hashes the bytes, and copies them into the current part, without the GIL. A full part is
    sent by other threads, `in_flight` of them at a time. Memory: `in_flight` parts, and one that is being filled or waits.

    If a part cannot be stored, the content has a hole: everything is dropped, `add` returns None, and `check` raises the
    error. The caller goes back to what it has recorded last, with `resume`.

    Args:
        bucket: where the parts go.
        algorithm: `sha256`, `sha384` or `sha512`.
        part_size: bytes of each part but the last, from 5 MiB on S3. All parts of an upload must have the same size.
        in_flight: the most parts that are being sent.
        on_full: called once, by the thread that calls `add`, when the first part is full and `begin` was not called. The
            part waits for `begin`.
    """

    def __new__(
        cls,
        bucket: Bucket,
        algorithm: str,
        *,
        part_size: int,
        in_flight: int,
        on_full: Callable[[], object],
    ) -> PartWriter: ...
    @staticmethod
    def resume(
        bucket: Bucket,
        state: bytes,
        *,
        key: str | None,
        multipart_id: str | None,
        etags: list[str],
        tail: bytes,
        part_size: int,
        in_flight: int,
        on_full: Callable[[], object],
    ) -> PartWriter:
        """Continue, in any process.

        Args:
            bucket: where the parts go.
            state: from `save`.
            key: the key of the multipart upload; None if none was begun.
            multipart_id: its id; None if none was begun.
            etags: from `etags`.
            tail: the bytes behind the full parts, from `tail`. They may fill a part.
            part_size: the same as for the full parts.
            in_flight: the most parts that are being sent.
            on_full: see the class. It is not called if there is an upload.

        Raises:
            ValueError: the state is not valid, or its length is not that of the parts and the tail.
        """
    @property
    def high_water_mark(self) -> int:
        """High-water mark of the backlog: 0, because only what waits for its turn counts."""
    @property
    def length(self) -> int:
        """Bytes so far, with those before `resume`."""
    @property
    def etags(self) -> list[str]:
        """ETags of the full parts that are stored, in order, up to the first that is not: all of them after `when_kept`."""
    def begin(self, key: str, multipart_id: str) -> None:
        """Say where the parts go."""
    def add(self, data: bytes) -> int | None:
        """Take a piece.

        Returns:
            The backlog: bytes of full parts that wait for their turn, so not those that are being sent. None if all is
            lost because of an error.
        """
    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Call `callback` once, when no more than `backlog` bytes wait, from the thread that calls `done`."""
    def when_kept(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when each full part is stored, or all is lost, from the thread that calls `done`.

        The current part is not full, and so not stored: see `flush_tail`.
        """
    def check(self) -> None:
        """Raise the error of a part, once."""
    def flush_tail(self, done: Callable[[str | None, ObjectError | None], object]) -> None:
        """Store the current part as the last one, and get its ETag, for `complete` behind `etags`.

        Its number is that of the next full part, which replaces it if more bytes come. The error is ObjectError if there is
        no multipart upload.
        """
    def put_tail(self, key: str, done: Callable[[None, ObjectError | None], object]) -> None:
        """Store the current part as an object, so that another process can read it for `resume`."""
    def tail(self) -> bytes:
        """Return the bytes of the current part: fewer than `part_size`."""
    def save(self) -> bytes:
        """Return the state of the hash, as `ociserver._core.Hasher.save`."""
    def digest(self) -> str:
        """Return the digest of all bytes so far."""
    def close(self) -> None:
        """Drop what waits, and stop what is being sent. A part that is being sent may be stored or not."""
