"""The protocol in Rust: grammar, request parsing, ranges, hashing, manifests; and the log.

Everything but `Appender`, `hash_range`, `read_at`, `read_cached`, `run_load`, `cores_apart` and
`LineWriter` is pure computation.
Names follow the distribution spec; behaviour that the spec leaves open follows Go's `cuelabs.dev/go/oci/ociregistry`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Self, TypeAlias, final

from typing_extensions import disjoint_base

from ociserver.event import Event
from ociserver.types import Message, Receive, Scope, Send
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
    "Exchange",
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
    "RequestIds",
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
]

__version__: Final[str]
"""Version of the package, from the workspace's Cargo.toml, in PEP 440 form."""

build_profile: Final[Literal["debug", "release"]]
"""How this extension was compiled; a debug build is many times slower."""

ACCEPT_RANGES: Final[tuple[bytes, bytes]]
"""The header field of every answer that has a blob, or describes one."""

API_VERSION: Final[tuple[bytes, bytes]]
"""The header field of every answer."""

MAX_MANIFEST_DEPTH: Final[int]
"""Deepest nesting of JSON that a manifest may have before it is refused."""

MAX_RANGES: Final[int]
"""Most ranges of one Range header that are served as parts (1,024). With more the header is ignored: 200, the whole."""

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
"""Every value that `Request.kind` can have, in the order of the spec's table of endpoints."""

@final
class Request:
    """One well-formed request of the distribution API. Immutable, compared by value.

    `repr` is the constructor call. Fields that a kind does not use are None (`()` for `tags`).
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
        """Make a request by hand, checked like a parsed one.

        Raises:
            ValueError: a field has a bad form, is missing, or does not belong to the kind.
        """

    @property
    def kind(self) -> _Kind: ...
    @property
    def repository(self) -> str | None:
        """All but ping and catalog_list."""
    @property
    def digest(self) -> str | None:
        """blob_*, upload_blob, upload_complete, referrers_list (the subject); manifest_* by digest."""
    @property
    def tag(self) -> str | None:
        """manifest_* by tag."""
    @property
    def tags(self) -> tuple[str, ...]:
        """manifest_put: the `tag` parameters, in order, without repeats (spec: end-7b)."""
    @property
    def from_repository(self) -> str | None:
        """blob_mount: None asks for a mount from wherever the blob is (anonymous mount)."""
    @property
    def upload_id(self) -> str | None:
        """upload_info, upload_chunk, upload_complete, upload_cancel: the backend's id, decoded."""
    @property
    def digest_algorithm(self) -> str | None:
        """upload_start: sha256, sha384 or sha512 if `digest-algorithm` was given (end-4c)."""
    @property
    def n(self) -> int | None:
        """tags_list, catalog_list: most entries wanted; None is no limit; never negative."""
    @property
    def last(self) -> str | None:
        """tags_list, catalog_list, referrers_list: entries strictly after this one; None or non-empty."""
    @property
    def artifact_type(self) -> str | None:
        """referrers_list: the filter; None or non-empty."""
    @property
    def namespace(self) -> str | None:
        """Any kind: the `ns` parameter, as sent; None or non-empty."""

    def build(self) -> tuple[str, str]:
        """Return (method, URL path with query). `parse_request` of it gives an equal request."""

def parse_request(method: str, path: bytes, query: bytes, root_path: bytes = b"") -> Request:
    """Parse a request line into a typed request.

    Args:
        method: as received; methods are case-sensitive.
        path: the raw path, still percent-encoded, without the query.
        query: the raw query, without the `?`.
        root_path: raw prefix that the application is mounted under; taken off the front of `path`
            where it stands there as whole path elements.

    Raises:
        ociserver.errors.ParseError: with the code, status and message of the first check that failed.
    """

def next_link(path: bytes, query: bytes, last: str) -> str:
    """The value of a Link header for the next page: `</path?query>;rel="next"`.

    The path and query are the request's own with `last` set (percent-encoded); `n` and the others
    stay as they were (RFC 8288; spec: listing tags).
    """

def upload_path(repository: str, upload_id: str) -> str:
    """`/v2/<repository>/blobs/uploads/<id>`, the id as unpadded base64url of its UTF-8 bytes."""

def is_repository(text: str) -> bool: ...
def is_tag(text: str) -> bool: ...
def is_digest(text: str) -> bool: ...
def parse_reference(text: str, *, relative: bool) -> tuple[str, str, str, str]:
    """Split `host/repository[:tag][@digest]` into (host, repository, tag, digest); "" where absent.

    Go's ociref.Parse (`relative=False`: the host is required) and ociref.ParseRelative.

    Raises:
        ValueError: with the message of Go's error.
    """

def is_host(text: str) -> bool:
    """Go's ociref.IsValidHost."""

@final
class ByteRange:
    """One range of a Range header, not yet resolved against a size (RFC 9110, 14.1.2).

    `first` None is a suffix range of `last` bytes; `last` None is open-ended; both ends inclusive.
    """

    def __new__(cls, first: int | None, last: int | None) -> ByteRange:
        """Raises ValueError if both are None, one is negative, or first > last."""
    @property
    def first(self) -> int | None: ...
    @property
    def last(self) -> int | None: ...
    def resolve(self, size: int) -> tuple[int, int] | None:
        """(start, stop) in a content of `size` bytes, stop exclusive; None if it cannot be satisfied."""

def parse_range(header: bytes) -> list[ByteRange] | None:
    """Read a Range header. Takes time and memory for `MAX_RANGES` ranges at most.

    Returns:
        The ranges in the header's order, not yet resolved or joined. None where the header is to be ignored and the
        whole content sent: an unknown unit (RFC 9110, 14.2), `bytes=` with nothing, or more than `MAX_RANGES` ranges.

    Raises:
        ociserver.errors.OCIError: RANGE_INVALID/416 for a malformed range, or one whose first > last.
    """

def parse_content_range(header: bytes) -> tuple[int, int]:
    """Read the `start-end` of an upload's Content-Range; both inclusive. `N-(N-1)` is empty at N.

    Raises:
        ociserver.errors.OCIError: UNSUPPORTED/400 `we don't understand your Content-Range`.
    """

@final
class Hasher:
    """A streaming SHA-2 hasher that can be saved and resumed. Safe to share; updates are serialised."""

    def __new__(cls, algorithm: str = "sha256") -> Hasher:
        """Raises ValueError for anything but sha256, sha384, sha512."""
    @property
    def algorithm(self) -> str: ...
    @property
    def length(self) -> int:
        """Bytes hashed so far."""
    def update(self, data: bytes) -> None:
        """Add bytes. Lets go of the GIL when that is worth more than it costs."""
    def digest(self) -> str:
        """`algorithm:hex` of the bytes so far; more may follow."""
    def save(self) -> bytes:
        """The midstate, to continue elsewhere. Not secret, not portable across major versions."""
    @staticmethod
    def resume(state: bytes) -> Hasher:
        """Continue from `save`. Raises ValueError if it is not such a state."""

@final
class BackgroundHasher:
    """A streaming SHA-2 hasher that works in threads of its own, without the GIL, while more is received. Pieces are
    kept until they are hashed, so bound what waits."""

    def __new__(cls, algorithm: str = "sha256") -> BackgroundHasher:
        """Raises ValueError for anything but sha256, sha384, sha512."""
    @staticmethod
    def resume(hasher: Hasher) -> BackgroundHasher:
        """Continue a hash; it is copied."""
    def add(self, data: bytes) -> int:
        """Add bytes; how many are not hashed yet, these among them. Small ones are hashed at once if nothing waits.
        After `close` they are not taken."""
    def left(self) -> int:
        """Bytes that are not hashed yet."""
    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Call `callback`, once, when no more than `backlog` bytes are left to hash: at once, or in another thread."""
    def length(self) -> int:
        """Bytes that were added, hashed or not."""
    def hasher(self) -> Hasher:
        """The hash of the bytes that are not left: of the first ones that were added."""
    def digest(self) -> str:
        """`algorithm:hex` of all bytes. Raises RuntimeError while some are left to hash."""
    def close(self) -> None:
        """Take no more, and forget what waits."""

def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """`algorithm:hex` of the bytes. Raises ValueError for an unknown algorithm."""

@final
class RequestIds:
    """What requests are called in logs and answers.

    Args:
        prefix: of the names that are made here, which are counted from 1.
    """

    def __new__(cls, prefix: str) -> Self: ...
    def of(self, header: bytes | None) -> str:
        """The client's own X-Request-Id if it has 1 to 128 bytes, all printable ASCII; else the next of ours."""

@final
class Answered:
    """A read that `NowaitReader` has answered."""

    def report(self) -> None:
        """Have it observed, as a request that has just finished. A `LineWriter` gets no `Event`, but what is in one."""

@final
class NowaitReader:
    """Answers reads that a backend can answer without waiting.

    Args:
        read_nowait: `Backend.read_nowait`.
        refusal: status, headers and body of the answer to an exception of `read_nowait`; None: the request is left to
            the event loop.
        blobs: whether reads of blobs are answered.
        tag_digest: whether the answer to a GET by tag names the digest.
        observe: of the handler.
        ids: names requests that are observed.
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
    ) -> Self: ...
    def answer(self, scope: Scope) -> tuple[Message, Message, Answered | None] | None:
        """The two messages that answer a request, and what reports it to `observe`.

        None: the request is left to the event loop. It is not a read, or it has a range, a query, a body, a mount or a
        condition that is not simply the ETag of what is found, or the backend would have to wait.
        """

@disjoint_base
class Exchange:
    """What an ASGI server hands over with a request, and of its headers what every answer depends on, read in one pass.

    Args:
        site: what the requests of one handler share.
        scope: of ASGI; header names in lower case. Of a repeated header the last counts.
        receive: of ASGI.
        send: of ASGI.
    """

    def __new__(cls, site: object, scope: dict[str, Any], receive: Receive, send: Send) -> Self: ...
    @property
    def site(self) -> Any: ...
    @property
    def scope(self) -> dict[str, Any]: ...
    @property
    def receive(self) -> Receive: ...
    @property
    def send(self) -> Send: ...
    @property
    def has_body(self) -> bool:
        """Whether a body was announced, by its length or as chunks."""
    @property
    def if_none_match(self) -> bytes | None:
        """The header of that name."""
    @property
    def range(self) -> bytes | None:
        """The header of that name."""
    @property
    def x_request_id(self) -> bytes | None:
        """The header of that name."""

def content_headers(
    media_type: str, digest: str, length: int, *, names_digest: bool = True
) -> list[tuple[bytes, bytes]]:
    """The header fields that describe a content, in a new list.

    Content-Type, Content-Length, ETag, X-Content-Type-Options, Content-Security-Policy, Docker-Content-Digest. The type
    is the client's own, `text/html` too: the fourth and the fifth keep a browser from running what it shows.

    Args:
        media_type: what is no Latin-1 becomes `?`.
        digest: the ETag too.
        length: bytes of the body.
        names_digest: False leaves Docker-Content-Digest out.
    """

def not_modified_headers(digest: str, *, names_digest: bool = True) -> list[tuple[bytes, bytes]]:
    """The header fields of a 304: ETag and Docker-Content-Digest (RFC 9110, 15.4.5), in a new list."""

@final
class Appender:
    """An open file that grows, and its hash with it, in threads of their own and without the GIL. Pieces are kept until
    they are written and hashed, so bound what waits. From any thread.

    After a piece that could not be written the file ends before it, and takes no more. Its hash has that piece.

    Args:
        fd: of the file. Whoever closes it does so when all is written.
        size: where the file ends, in bytes.
        hash: of all that is before that. It needs no file, and may go on when this one is closed.
        begin: whether the disk is to begin with what is to be synced later; only Linux does it.
    """

    def __new__(cls, fd: int, size: int, hash: BackgroundHasher, begin: bool) -> Appender: ...
    def add(self, data: bytes) -> int | None:
        """Append bytes; how many are not yet written or not yet hashed, these among them. None after a failure, and after
        `close`: then nothing of them is kept."""
    def left(self) -> int:
        """Bytes that are not yet written or not yet hashed."""
    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Call `callback`, once, when no more than `backlog` bytes are left: at once, or in another thread."""
    def when_written(self, callback: Callable[[], object]) -> None:
        """Likewise when all is written, or could not be, hashed or not."""
    def close(self) -> None:
        """Take no more, and forget what waits to be written."""
    def size(self) -> int | None:
        """Bytes of the file. None while some are left to write."""
    def check(self) -> None:
        """Raise the OSError of the piece that could not be written, once, and not while some are left to write."""

def hash_range(fd: int, offset: int, length: int, hasher: Hasher) -> None:
    """Add `length` bytes of an open file to the hash. Without the GIL.

    Raises:
        OSError: it cannot be read, or ends before.
    """

def read_at(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes of an open file; fewer only at its end. Without the GIL. Raises OSError."""

def read_cached(fd: int, offset: int, length: int) -> bytes | None:
    """What `read_at` would give, as far as it is in memory; None if that is nothing, or cannot be told (only
    Linux can). Never waits for the disk, so that it may be called on an event loop. Without the GIL. Raises OSError."""

@final
class LineWriter:
    """Writes the lines of a log to a file descriptor: in batches, from a thread of its own that does without the GIL,
    so that no request waits for a pipe or a disk.

    The queue is bounded: when whoever reads the log is slower than the requests, lines are dropped and counted, and
    the log says how many. Nothing that cannot be written raises. The thread does not keep the process alive.

    Args:
        descriptor: an open one; it is not closed.
        log_format: of the lines that are made here.

    Raises:
        OSError: the system gives no thread.
    """

    MAX_LINES: Final[int]
    """Most lines that wait."""
    RESERVE: Final[int]
    """Further places for lines that are important."""
    WRITE_SIZE: Final[int]
    """Lines are joined up to this many bytes for one write; no larger than PIPE_BUF, so that the lines of processes
    that share a pipe stay whole."""

    def __new__(cls, descriptor: int, log_format: Literal["text", "json"]) -> Self: ...
    def put(self, line: str, *, important: bool = False) -> None:
        """Queue a line, or some that belong together. Never blocks; may be called from any thread."""
    def __call__(self, event: Event) -> None:
        """Queue the `access_line` of a request that has just finished. Never blocks; may be called from any thread."""
    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end. What is queued after this is lost."""

def access_line(log_format: Literal["text", "json"], at: float, event: Event) -> str:
    """The line of a request in the log, without its newline: one line, whatever is in the event.

    Args:
        log_format: text is `<time> access  <client> "<method> <path>" <status> in=<bytes> out=<bytes> <ms>ms id=<id>`;
            JSON has all that is in the event.
        at: when it had finished, in seconds since 1970.
        event: what the handler tells of it.
    """

@final
class Reference:
    """A descriptor found in a manifest."""

    @property
    def field(self) -> str:
        """Where it stands: `config`, `layers[3]`, `manifests[0]`, `blobs[0]`, `fsLayers[2]`, or a path."""
    @property
    def kind(self) -> Literal["blob", "manifest", "unknown"]:
        """What it points at; unknown where the type of the manifest, or of an entry of an index, is not known."""
    @property
    def digest(self) -> str: ...
    @property
    def size(self) -> int | None:
        """Bytes, as the manifest says; None if it says nothing that can be read."""
    @property
    def required(self) -> bool:
        """Must be present in the repository for a strict push: not non-distributable, not a subject."""

@final
class ManifestInfo:
    """What a registry needs to know about a manifest's content."""

    @property
    def media_type(self) -> str:
        """The type to keep, without parameters: see `manifest_media_type`."""
    @property
    def kind(self) -> Literal["image", "index", "other", "opaque"]:
        """An image manifest or an index, of OCI or Docker; any other JSON; or not readable as JSON."""
    @property
    def references(self) -> list[Reference]:
        """In order of appearance, without the subject. Empty if opaque."""
    @property
    def subject(self) -> str | None:
        """Digest of the subject; only of an image or index of OCI."""
    @property
    def artifact_type(self) -> str | None:
        """The manifest's own, or for an image the config's media type (spec: listing referrers). At most 255 bytes."""
    @property
    def annotations_json(self) -> bytes | None:
        """The annotations as a JSON object without spaces, in UTF-8, no longer than in the manifest; None for none. The
        same object each time."""
    @property
    def annotations(self) -> dict[str, str]:
        """The annotations, in a new dictionary, which takes much more memory than the JSON."""

def manifest_media_type(content: bytes, declared: str) -> str:
    """The media type to keep of a manifest, without parameters.

    It is what the document says itself (`mediaType`), else `declared`, else `application/octet-stream`.

    Args:
        content: the manifest.
        declared: what its sender says (Content-Type), perhaps with parameters; "" for nothing.

    Raises:
        ociserver.errors.OCIError: MANIFEST_INVALID/400 if the two differ (compared without case), or if the type is
            not 1 to 255 printable ASCII characters.
    """

def read_manifest(content: bytes, media_type: str, *, lax: bool = False) -> ManifestInfo:
    """Read a manifest.

    Images and indexes, of OCI and Docker, are held to their schema: they have the keys of their type and none of
    another one. Other JSON is searched for descriptors, and whatever is not JSON is opaque.

    Args:
        content: the manifest.
        media_type: what its sender says; see `manifest_media_type`.
        lax: hold a known type to its JSON and its keys alone. Where its schema does not fit, it is searched like any
            other document, and has no subject.

    Raises:
        ociserver.errors.OCIError: MANIFEST_INVALID/400 for another type than the document names, and for a manifest of
            a known type that is not valid JSON, has not the shape of that type, has a bad descriptor (digest, media
            type, size), or is nested deeper than `MAX_MANIFEST_DEPTH`.
    """

def read_stored_manifest(content: bytes, media_type: str) -> ManifestInfo:
    """Read a manifest that a registry has already, whoever let it in: it is never refused.

    Its type is what the document says, else `media_type`. What does not fit that type is searched for descriptors like
    any other JSON.
    """

def read_referrers(index: bytes) -> list[tuple[str, str, int, str | None, bytes | None]]:
    """Read a list of referrers that another registry has made. Without the GIL.

    Returns:
        Of each entry: media type, digest, size, artifact type (never empty), annotations as `ManifestInfo` has them.

    Raises:
        ValueError: it is not JSON, or an entry is no descriptor; the message says where.
    """

@final
class LoadContent:
    """Random bytes to upload: others for each stamp, and in each process. They are made while they are sent."""

    def __new__(cls, stamp: int, length: int) -> LoadContent: ...
    @property
    def length(self) -> int:
        """Bytes of it."""

    def part(self, offset: int, length: int) -> LoadContent:
        """So many bytes from there, or as many as there are."""

    def digest(self) -> str:
        """SHA-256 of it. Releases the GIL."""

    def read(self) -> bytes:
        """The bytes. Releases the GIL."""

@final
class LoadStep:
    """One request of an operation of `run_load`.

    Args:
        method: of HTTP.
        path: where it goes; None for the Location of the last answer that had one.
        query: to add to that.
        headers: beside those of every request.
        body: to send.
        expect: statuses that are successes.
        digest: what the answer's body must be, as `sha256:...`. Hashing costs: not for what is measured.
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
    """A server to measure, looked up once. Certificates are checked against the system's or `SSL_CERT_FILE`.

    Raises:
        OSError: the name has no address, or there are no certificates to check against.
    """

    def __new__(cls, host: str, port: int, authority: str, *, https: bool) -> LoadOrigin: ...

@final
class LoadReport:
    """How a load went. Times are in seconds; bytes are those of bodies of operations that succeeded."""

    @property
    def count(self) -> int:
        """Operations that succeeded."""

    @property
    def begun(self) -> int:
        """Operations that were begun: the first ones, if none is repeated."""

    @property
    def seconds(self) -> float:
        """From the beginning of the first operation to the end of the last."""

    @property
    def sent(self) -> int: ...
    @property
    def received(self) -> int: ...
    @property
    def p50_s(self) -> float: ...
    @property
    def p99_s(self) -> float: ...
    @property
    def errors(self) -> dict[str, int]:
        """How many operations failed, by status (`404`) or kind (`timeout`)."""

    @property
    def first_error(self) -> str | None:
        """The request that failed first, and how, with the beginning of the answer."""

def cores_apart() -> int | None:
    """Nanoseconds that a word takes from the cache of one core to another's, for the first two that may be used: some 30
    where they share a cache, more than 100 where they do not. A virtual machine's cores can change between the two.
    None where there is one core only, or where it is not known how to measure (not on Linux). Takes some milliseconds,
    and releases the GIL.
    """

def run_load(
    origin: LoadOrigin,
    operations: Sequence[Sequence[LoadStep]],
    *,
    clients: int,
    threads: int,
    seconds: float | None,
    repeat: bool,
    headers: Sequence[tuple[str, str]],
    progress: Callable[[int, int], None],
) -> LoadReport:
    """Make operations with many clients, each with a connection of its own. Releases the GIL.

    Args:
        origin: the server.
        operations: each one's steps are made in order by one client.
        clients: how many at once.
        threads: how many run them.
        seconds: after which no operation is begun; None for until all are made.
        repeat: begin with the operations anew when all are made.
        headers: of every request.
        progress: called now and then, and after an interruption, with how many operations were begun and have ended.
            What it raises, as Ctrl-C does, breaks everything off.
    """
