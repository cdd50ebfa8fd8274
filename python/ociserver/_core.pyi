"""The compiled part of ociserver: the protocol, file I/O, the access log, and the load generator of `ociserver bench`.

The protocol (grammars, requests, ranges, hashes, manifests) is pure computation, from the crate `rust/core`.
`Appender`, `BackgroundHasher`, `hash_range`, `read_at`, `read_cached` and `LineWriter` do I/O or use threads of their
own, from `rust/io`. `run_load`, `cores_apart` and the `Load` classes come from `rust/load`.

Names follow the distribution spec. Where the spec leaves a choice, the behaviour follows Go's
`cuelabs.dev/go/oci/ociregistry`.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Self, TypeAlias, final

from ociserver.auth.identity import Identity
from ociserver.event import Event
from ociserver.types import Message, Scope
from ociserver.values import Descriptor

__all__ = [
    "ACCEPT_RANGES",
    "API_VERSION",
    "MAX_MANIFEST_DEPTH",
    "MAX_RANGES",
    "REQUEST_KINDS",
    "Answered",
    "Appender",
    "BackgroundHasher",
    "ByteRange",
    "Hasher",
    "LineWriter",
    "LoadContent",
    "LoadOrigin",
    "LoadReport",
    "LoadStep",
    "ManifestInfo",
    "NowaitReader",
    "Reference",
    "Request",
    "RequestCounter",
    "RequestIds",
    "RequestRow",
    "__version__",
    "access_line",
    "build_profile",
    "content_headers",
    "cores_apart",
    "digest_of",
    "hash_range",
    "is_digest",
    "is_host",
    "is_repository",
    "is_tag",
    "manifest_media_type",
    "next_link",
    "not_modified_headers",
    "parse_content_range",
    "parse_range",
    "parse_reference",
    "parse_request",
    "read_at",
    "read_cached",
    "read_manifest",
    "read_referrers",
    "read_stored_manifest",
    "run_load",
    "upload_path",
    "usable_cores",
]

__version__: Final[str]
"""Version of the package, from the workspace's Cargo.toml, in PEP 440 form."""

build_profile: Final[Literal["debug", "release"]]
"""How this extension was compiled. A debug build is many times slower."""

ACCEPT_RANGES: Final[tuple[bytes, bytes]]
"""The header field of every response that has or describes a blob."""

API_VERSION: Final[tuple[bytes, bytes]]
"""The header field of every response."""

MAX_MANIFEST_DEPTH: Final[int]
"""Maximum nesting depth of the JSON of a manifest. A deeper manifest is refused."""

MAX_RANGES: Final[int]
"""Maximum number of ranges in a Range header (1,024). A header with more is ignored: the response is 200, with the
whole content."""

_Kind: TypeAlias = Literal[
    "ping",
    "blob_get",
    "blob_head",
    "blob_delete",
    "upload_start",
    "upload_blob",
    "blob_mount",
    "upload_info",
    "upload_chunk",
    "upload_complete",
    "upload_cancel",
    "manifest_get",
    "manifest_head",
    "manifest_put",
    "manifest_delete",
    "tags_list",
    "referrers_list",
    "catalog_list",
]

REQUEST_KINDS: Final[tuple[_Kind, ...]]
"""Every value of `Request.kind`, in the order of the spec's table of endpoints."""

@final
class Request:
    """One well-formed request of the distribution API. Immutable, and compared by value.

    `repr` returns the constructor call. A field that the kind does not use is None (`()` for `tags`).
    """

    def __new__(
        cls,
        kind: _Kind,
        *,
        repository: str | None = None,
        digest: str | None = None,
        tag: str | None = None,
        tags: tuple[str, ...] = (),
        from_repository: str | None = None,
        upload_id: str | None = None,
        digest_algorithm: str | None = None,
        n: int | None = None,
        last: str | None = None,
        artifact_type: str | None = None,
        namespace: str | None = None,
    ) -> Request:
        """Make a request from its fields. The checks are those of `parse_request`.

        Raises:
            ValueError: a field is malformed, is missing, or does not belong to the kind.
        """

    @property
    def kind(self) -> _Kind: ...
    @property
    def repository(self) -> str | None:
        """Every kind except ping and catalog_list."""
    @property
    def digest(self) -> str | None:
        """blob_*, upload_blob, upload_complete, referrers_list (the subject), and manifest_* by digest."""
    @property
    def tag(self) -> str | None:
        """manifest_* by tag."""
    @property
    def tags(self) -> tuple[str, ...]:
        """manifest_put: the `tag` parameters in order, without duplicates (spec: end-7b)."""
    @property
    def from_repository(self) -> str | None:
        """blob_mount: the source repository. None is an anonymous mount: the registry chooses the source."""
    @property
    def upload_id(self) -> str | None:
        """upload_info, upload_chunk, upload_complete, upload_cancel: the decoded ID of the backend."""
    @property
    def digest_algorithm(self) -> str | None:
        """upload_start: the `digest-algorithm` parameter (end-4c): sha256, sha384 or sha512."""
    @property
    def n(self) -> int | None:
        """tags_list, catalog_list: maximum number of entries, never negative. None is no limit."""
    @property
    def last(self) -> str | None:
        """tags_list, catalog_list, referrers_list: return only entries after this one. None or non-empty."""
    @property
    def artifact_type(self) -> str | None:
        """referrers_list: return only this artifact type. None or non-empty."""
    @property
    def namespace(self) -> str | None:
        """Any kind: the `ns` parameter as received. None or non-empty."""

    def build(self) -> tuple[str, str]:
        """Return the method, and the URL path with its query. `parse_request` turns them into an equal request."""

def parse_request(method: str, path: bytes, query: bytes, root_path: bytes = b"") -> Request:
    """Parse a request line into a typed request.

    Args:
        method: as received. Methods are case-sensitive.
        path: the raw, percent-encoded path without the query.
        query: the raw query without the `?`.
        root_path: the raw prefix under which the application is mounted. It is removed from `path` if `path` starts
            with it as whole path elements.

    Raises:
        ociserver.errors.ParseError: a check failed. The error has the code, status and message of the first one.
    """

def next_link(path: bytes, query: bytes, last: str) -> str:
    """Return the value of a Link header for the next page: `</path?query>;rel="next"` (RFC 8288; spec: listing tags).

    The link has the path and query of the request, with `last` set and percent-encoded. Other parameters, such as `n`,
    stay unchanged.
    """

def upload_path(repository: str, upload_id: str) -> str:
    """Return `/v2/<repository>/blobs/uploads/<id>`. The ID is the unpadded base64url of its UTF-8 bytes."""

def is_repository(text: str) -> bool: ...
def is_tag(text: str) -> bool: ...
def is_digest(text: str) -> bool: ...
def parse_reference(text: str, *, relative: bool) -> tuple[str, str, str, str]:
    """Split `host/repository[:tag][@digest]` into host, repository, tag and digest. A missing part is "".

    The rules are those of Go's `ociref.ParseRelative` (`relative=True`: the host is optional) and `ociref.Parse`.

    Raises:
        ValueError: with the message of Go's error.
    """

def is_host(text: str) -> bool:
    """Return whether the text is the host of a reference, as Go's `ociref.IsValidHost`."""

@final
class ByteRange:
    """One range of a Range header, not yet resolved against a size (RFC 9110, 14.1.2).

    Both ends are inclusive. If `first` is None, it is a suffix range of `last` bytes. If `last` is None, it is
    open-ended.
    """

    def __new__(cls, first: int | None, last: int | None) -> ByteRange:
        """Raises ValueError if both are None, one is negative, or first > last."""
    @property
    def first(self) -> int | None: ...
    @property
    def last(self) -> int | None: ...
    def resolve(self, size: int) -> tuple[int, int] | None:
        """Return (start, stop) in a content of `size` bytes, with stop exclusive. None if it is not satisfiable."""

def parse_range(header: bytes) -> list[ByteRange] | None:
    """Parse a Range header. It reads at most `MAX_RANGES` ranges.

    Returns:
        The ranges in the order of the header, not resolved or joined. None if the server ignores the header and sends
        the whole content: the unit is unknown (RFC 9110, 14.2), `bytes=` has no range, or there are more than
        `MAX_RANGES` ranges.

    Raises:
        ociserver.errors.OCIError: RANGE_INVALID/416: a range is malformed, or its first > last.
    """

def parse_content_range(header: bytes) -> tuple[int, int]:
    """Parse the Content-Range of an upload, `start-end`. Both are inclusive. `N-(N-1)` is empty at N.

    Raises:
        ociserver.errors.OCIError: UNSUPPORTED/400: the header has another form.
    """

@final
class Hasher:
    """A streaming SHA-2 hasher that can be saved and resumed. Threads may share it; a lock serializes updates."""

    def __new__(cls, algorithm: str = "sha256") -> Hasher:
        """Raises ValueError if the algorithm is not sha256, sha384 or sha512."""
    @property
    def algorithm(self) -> str: ...
    @property
    def length(self) -> int:
        """Number of bytes hashed so far."""
    def update(self, data: bytes) -> None:
        """Add bytes. Releases the GIL for all but small updates."""
    def digest(self) -> str:
        """Return `algorithm:hex` of the bytes so far. More bytes may follow."""
    def save(self) -> bytes:
        """Return the state, for `resume`. It is not secret, and not portable across major versions."""
    @staticmethod
    def resume(state: bytes) -> Hasher:
        """Continue from a state that `save` returned. Raises ValueError if it is not such a state."""

@final
class BackgroundHasher:
    """A streaming SHA-2 hasher that works in background threads, without the GIL.

    It keeps each piece until the piece is hashed, so the caller must bound the backlog.
    """

    def __new__(cls, algorithm: str = "sha256") -> BackgroundHasher:
        """Raises ValueError if the algorithm is not sha256, sha384 or sha512."""
    @staticmethod
    def resume(hasher: Hasher) -> BackgroundHasher:
        """Continue from a copy of a hasher."""
    def add(self, data: bytes) -> int:
        """Add bytes, and return the backlog: the number of bytes that are not hashed yet, including these.

        If the backlog is empty, a small piece is hashed immediately, in the caller's thread. After `close` the bytes
        are dropped.
        """
    def left(self) -> int:
        """Return the backlog: the number of bytes that are not hashed yet."""
    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the backlog is at most `backlog` bytes: now, or later in another thread."""
    def length(self) -> int:
        """Return the number of bytes that were added, hashed or not."""
    def hasher(self) -> Hasher:
        """Return a copy of the hash of the bytes that are hashed: all that were added, without the backlog."""
    def digest(self) -> str:
        """Return `algorithm:hex` of all bytes. Raises RuntimeError while there is a backlog."""
    def close(self) -> None:
        """Accept no more bytes, and drop the backlog except the piece that is being hashed."""

def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return `algorithm:hex` of the bytes. Raises ValueError for an unknown algorithm."""

@final
class RequestRow:
    """The numbers of the requests of one kind with one status, in memory that other processes may read.

    Args:
        cells: a buffer of doubles: a key, the positions below, and one bucket for each bound and for larger values.
        bounds: upper bounds of the buckets in seconds, ascending.

    Raises:
        ValueError: the buffer has another size, or cannot be written to.
    """

    RECEIVED: Final[int]
    """Position of the bytes that were received."""
    SENT: Final[int]
    """Position of the bytes that were sent."""
    SUM: Final[int]
    """Position of the total of all durations."""
    BUCKETS: Final[int]
    """Position of the first bucket."""

    def __new__(cls, cells: memoryview[float], bounds: Sequence[float]) -> Self: ...
    def add(self, received: int, sent: int, duration: float) -> None:
        """Count a request. Any thread may call it."""

@final
class RequestCounter:
    """Counts the reads that `NowaitReader` has answered.

    Args:
        row: gives the row of a method, a kind and a status. It is called once for each.
    """

    def __new__(cls, row: Callable[[str, str, int], RequestRow]) -> Self: ...

@final
class RequestIds:
    """Request IDs for logs and responses.

    Args:
        prefix: generated IDs are `<prefix>-1`, `<prefix>-2` and so on.
    """

    def __new__(cls, prefix: str) -> Self: ...
    def of(self, header: bytes | None) -> str:
        """Return the X-Request-Id of the client if it is 1 to 128 printable ASCII characters, else a generated ID."""

@final
class Answered:
    """A request that `NowaitReader` has answered."""

    def report(self) -> None:
        """Report the request to `observe` as finished."""

@final
class NowaitReader:
    """Answers read requests that a backend can answer without waiting.

    Args:
        read_nowait: `Backend.read_nowait`.
        refusal: maps an exception of `read_nowait` to the status, headers and body of a response. If it returns None,
            the event loop handles the request.
        blobs: whether to answer reads of blobs.
        tag_digest: whether the response to a GET by tag has a Docker-Content-Digest.
        observe: the observer of the handler.
        ids: gives IDs to observed requests.
        admit: gets the Authorization header and the repository of a read. It returns the `Identity` of a client that
            may read all of the repository, or None: the event loop handles the request. Without this function,
            everybody may read.
        counter: counts the answered reads.
    """

    def __new__(
        cls,
        read_nowait: Callable[[str, str, str], tuple[Descriptor, bytes | None] | None],
        refusal: Callable[[Exception], tuple[int, list[tuple[bytes, bytes]], bytes] | None],
        *,
        blobs: bool,
        tag_digest: bool,
        observe: Callable[[Event], None] | None,
        ids: RequestIds,
        admit: Callable[[bytes | None, str], Identity | None] | None = None,
        counter: RequestCounter | None = None,
    ) -> Self: ...
    def answer(self, scope: Scope) -> tuple[Message, Message, Answered | None] | None:
        """Return the two ASGI messages of the response, and an object that reports the request to `observe`.

        Returns None if the event loop must handle the request: it is not a read; it has a range, a query, a body, a
        root path, repeated credentials, or an If-None-Match that is not the ETag of the content; or the backend would have to wait.
        """

def content_headers(
    media_type: str, digest: str, length: int, *, names_digest: bool = True
) -> list[tuple[bytes, bytes]]:
    """Return a new list of the header fields that describe a content.

    They are Content-Type, Content-Length, ETag, X-Content-Type-Options, Content-Security-Policy and
    Docker-Content-Digest. A client chooses the type of its content, and may choose `text/html`. X-Content-Type-Options
    and Content-Security-Policy prevent a browser from running scripts in such a content.

    Args:
        media_type: each character that is not Latin-1 becomes `?`.
        digest: for Docker-Content-Digest and ETag.
        length: size of the body in bytes.
        names_digest: False omits Docker-Content-Digest.
    """

def not_modified_headers(digest: str, *, names_digest: bool = True) -> list[tuple[bytes, bytes]]:
    """Return a new list of the header fields of a 304: ETag and Docker-Content-Digest (RFC 9110, 15.4.5)."""

@final
class Appender:
    """Appends to an open file and hashes what it appends, in background threads and without the GIL.

    It keeps each piece until the piece is written and hashed, so the caller must bound the backlog. Every method may be
    called from any thread.

    If a write fails, the file keeps its size from before that piece, and the appender accepts no more. The hash then
    includes the piece that was not written.

    Args:
        fd: the file descriptor. The caller closes it, after everything is written.
        size: size of the file in bytes.
        hash: the hash of these bytes. It does not use the file, and can continue after the file is closed.
        early_writeback: whether to start writing to the disk early, so that a later sync takes less time. Only Linux does this.
    """

    def __new__(cls, fd: int, size: int, hash: BackgroundHasher, early_writeback: bool) -> Appender: ...
    def add(self, data: bytes) -> int | None:
        """Append bytes, and return the backlog: the number of bytes that are not written or not hashed yet, including
        these.

        Returns None after a failed write and after `close`. The bytes are dropped then.
        """
    def left(self) -> int:
        """Return the backlog: the number of bytes that are not written or not hashed yet."""
    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Call `callback` once, when the backlog is at most `backlog` bytes: now, or later in another thread."""
    def when_written(self, callback: Callable[[], object]) -> None:
        """Call `callback` once, when no byte is left to write.

        Bytes may be left to hash, and a write may have failed.
        """
    def close(self) -> None:
        """Accept no more bytes, and drop those that are not written yet. Those that are not hashed yet stay."""
    def size(self) -> int | None:
        """Return the size of the file in bytes. None while bytes are left to write."""
    def check(self) -> None:
        """Raise the OSError of the failed write. Does nothing while bytes are left to write, and raises only once."""

def hash_range(fd: int, offset: int, length: int, hasher: Hasher) -> None:
    """Add `length` bytes of an open file to the hash. Releases the GIL.

    Raises:
        OSError: the file cannot be read, or is too short.
    """

def read_at(fd: int, offset: int, length: int) -> bytes:
    """Read `length` bytes of an open file.

    Returns fewer only at the end of the file. Releases the GIL. Raises OSError.
    """

def read_cached(fd: int, offset: int, length: int) -> bytes | None:
    """Read from an open file without waiting for the disk, so that the event loop may call it.

    Returns:
        At most `length` bytes, as far as they are in the page cache. None if none are, or if the system cannot tell.
        Only Linux can.

    Raises:
        OSError: the file cannot be read.
    """

@final
class LineWriter:
    """Writes lines of a log to a file descriptor, in batches, from a thread that does not need the GIL.

    No request waits for a pipe or a disk. The queue is bounded: if the reader of the log is slower than the requests,
    the writer drops lines and logs how many. A failed write drops lines too and raises nothing. The thread does not
    keep the process alive.

    Args:
        descriptor: an open file descriptor. The writer does not close it.
        log_format: format of the access lines.

    Raises:
        OSError: the system cannot start a thread.
    """

    MAX_LINES: Final[int]
    """Maximum number of queued lines."""
    RESERVE: Final[int]
    """Places in the queue, beyond `MAX_LINES`, for important lines."""
    WRITE_SIZE: Final[int]
    """Maximum size in bytes of a write of several lines. It is not larger than PIPE_BUF, so the lines of processes that
    share a pipe stay whole."""

    def __new__(cls, descriptor: int, log_format: Literal["text", "json"]) -> Self: ...
    def put(self, line: str, *, important: bool = False) -> None:
        """Queue one line, or several that belong together. Never blocks. Any thread may call it."""
    def __call__(self, event: Event) -> None:
        """Queue the `access_line` of a request that has just finished. Never blocks. Any thread may call it."""
    def close(self, timeout_s: float) -> None:
        """Write the queued lines and end, within `timeout_s` seconds. Lines that are queued later are lost."""

def access_line(log_format: Literal["text", "json"], at: float, event: Event) -> str:
    """Return the log line of a request, without its newline. No field can contain a line break.

    Args:
        log_format: text is `<time> access  <client> "<method> <path>" <status> in=<bytes> out=<bytes> <ms>ms id=<id>`.
            JSON has every field of the event.
        at: when the request finished, in seconds since 1970.
        event: the request.
    """

@final
class Reference:
    """A descriptor in a manifest."""

    @property
    def field(self) -> str:
        """Where in the manifest: `config`, `layers[3]`, `manifests[0]`, `blobs[0]`, `fsLayers[2]`, or a path."""
    @property
    def kind(self) -> Literal["blob", "manifest", "unknown"]:
        """What it points at. Unknown if the type of the manifest, or of an entry of an index, is unknown."""
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int | None:
        """Size in bytes according to the manifest. None if the manifest has no valid size."""
    @property
    def required(self) -> bool:
        """Whether a strict push needs it in the repository. False for non-distributable layers and the subject."""

@final
class ManifestInfo:
    """What a registry needs to know about the content of a manifest."""

    @property
    def media_type(self) -> str:
        """The media type to store, without parameters: see `manifest_media_type`."""
    @property
    def kind(self) -> Literal["image", "index", "other", "opaque"]:
        """An image manifest or an index, of OCI or Docker; other JSON; or opaque: not JSON, or nested too deep."""
    @property
    def references(self) -> list[Reference]:
        """In order of appearance, without the subject. Empty if the manifest is opaque."""
    @property
    def subject(self) -> str | None:
        """Digest of the subject. Only OCI images and indexes have one."""
    @property
    def artifact_type(self) -> str | None:
        """The `artifactType`, or the media type of an image's config (spec: listing referrers). At most 255 bytes."""
    @property
    def annotations_json(self) -> bytes | None:
        """The annotations as a compact JSON object in UTF-8, not longer than in the manifest. None if there are none.

        Each access returns the same object.
        """
    @property
    def annotations(self) -> dict[str, str]:
        """The annotations as a new dictionary, which uses much more memory than the JSON."""

def manifest_media_type(content: bytes, declared: str) -> str:
    """Return the media type to store for a manifest, without parameters.

    It is the `mediaType` in the document, else `declared`, else `application/octet-stream`.

    Args:
        content: the manifest.
        declared: the Content-Type of the sender, with or without parameters. "" if there is none.

    Raises:
        ociserver.errors.OCIError: MANIFEST_INVALID/400: the two differ (ignoring case), or the type is not 1 to 255
            printable ASCII characters.
    """

def read_manifest(content: bytes, media_type: str, *, lax: bool = False) -> ManifestInfo:
    """Read a manifest.

    An image or an index, of OCI or Docker, must match its schema: it has the keys of its type, and none of another
    type. Other JSON is searched for descriptors. A content that is not JSON is opaque.

    Args:
        content: the manifest.
        media_type: the Content-Type of the sender; see `manifest_media_type`.
        lax: check of a known type only that it is JSON and has no key of another type. If it does not match its schema,
            it is searched like other JSON, and has no subject.

    Raises:
        ociserver.errors.OCIError: MANIFEST_INVALID/400: the sender and the document name different types; or a manifest
            of a known type is not valid JSON, does not match its schema, has a bad descriptor (digest, media type,
            size), or is nested deeper than `MAX_MANIFEST_DEPTH`.
    """

def read_stored_manifest(content: bytes, media_type: str) -> ManifestInfo:
    """Read a manifest that the registry stores already. It is never refused.

    Its type is the `mediaType` in the document, else `media_type`. If the manifest does not match its schema, it is
    searched for descriptors like other JSON.
    """

def read_referrers(index: bytes) -> list[tuple[str, str, int, str | None, bytes | None]]:
    """Read a referrers list of another registry. Releases the GIL.

    Returns:
        For each entry: media type, digest, size in bytes, artifact type (None or non-empty), and annotations in the
        form of `ManifestInfo.annotations_json`.

    Raises:
        ValueError: the list is not JSON, or an entry is not a descriptor. The message says where.
    """

@final
class LoadContent:
    """Random bytes to upload, generated while they are sent. They differ for each stamp and in each process."""

    def __new__(cls, stamp: int, length: int) -> LoadContent: ...
    @property
    def length(self) -> int:
        """Size in bytes."""

    def part(self, offset: int, length: int) -> LoadContent:
        """Return the part of `length` bytes from `offset`, or less at the end."""

    def digest(self) -> str:
        """Return the SHA-256 digest. Releases the GIL."""

    def read(self) -> bytes:
        """Return the bytes. Releases the GIL."""

@final
class LoadStep:
    """One request of an operation of `run_load`.

    Args:
        method: the HTTP method.
        path: the URL path. None is the Location of the last response that had one.
        query: appended to the path.
        headers: in addition to those of every request.
        body: the request body.
        expect: the statuses that count as success.
        digest: the expected `sha256:...` of the response body. Hashing takes time, so do not measure with it.
    """

    def __new__(
        cls,
        method: str,
        path: str | None,
        *,
        query: str = "",
        headers: Sequence[tuple[str, str]] = ...,
        body: bytes | LoadContent | None = None,
        expect: Sequence[int] = ...,
        digest: str | None = None,
    ) -> LoadStep: ...

@final
class LoadOrigin:
    """A server to measure. Its name is resolved once. Its certificate is verified with those of the system or of
    `SSL_CERT_FILE`.

    Raises:
        OSError: the name has no address, or the system has no root certificates.
    """

    def __new__(cls, host: str, port: int, authority: str, *, https: bool) -> LoadOrigin: ...

@final
class LoadReport:
    """The result of a load. Times are in seconds. `sent` and `received` count body bytes of successful operations."""

    @property
    def count(self) -> int:
        """Number of operations that succeeded."""

    @property
    def begun(self) -> int:
        """Number of operations that were started: the first ones, if none is repeated."""

    @property
    def seconds(self) -> float:
        """From the start of the first operation to the end of the last."""

    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def p50_s(self) -> float: ...
    @property
    def p99_s(self) -> float: ...
    @property
    def p999_s(self) -> float: ...
    @property
    def errors(self) -> dict[str, int]:
        """Number of failed operations by status (`404`) or kind (`timeout`)."""

    @property
    def first_error(self) -> str | None:
        """The first request that failed, and why, with the start of the response."""

def cores_apart() -> int | None:
    """Return the nanoseconds that a word takes from the cache of one core to that of another.

    It measures the first two cores that the process may use. About 30 ns means that they share a cache, more than 100
    ns that they do not. The cores of a virtual machine can change between the two. None if there is only one core, or
    if the system is not Linux. Takes some milliseconds, and releases the GIL.
    """

def usable_cores() -> int:
    """Return how many cores this process may use, at least 1.

    On Linux its affinity and the quotas of its control groups count, so also the limit of a container.
    """

def run_load(
    origin: LoadOrigin,
    operations: Sequence[Sequence[LoadStep]],
    *,
    clients: int,
    threads: int,
    seconds: float | None,
    repeat: bool,
    hash: bool,
    headers: Sequence[tuple[str, str]],
    progress: Callable[[int, int], None],
) -> LoadReport:
    """Run operations with concurrent clients, each with its own connection. Releases the GIL.

    Args:
        origin: the server.
        operations: one client runs all steps of an operation, in order.
        clients: number of concurrent clients.
        threads: number of threads that run the clients.
        seconds: no operation starts after this time. None runs until all operations are done.
        repeat: start again with the first operation when all are done.
        hash: the clients hash the bodies that they send and receive, as real clients do.
        headers: sent with every request.
        progress: called regularly, and after an interruption, with the numbers of operations that were started and that
            have ended. An exception from it, or Ctrl-C, stops the load.
    """
