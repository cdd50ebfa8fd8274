"""The compiled module, one section for each of its stub's: what crosses the boundary, and how it fails.

The grammar and the order of checks are pinned in the Rust crate's own tests; here a few rows of each show
that Python gets the same.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver import _core, errors
from ociserver._core import (
    Appender,
    BackgroundHasher,
    ByteRange,
    Exchange,
    Hasher,
    ManifestInfo,
    Request,
    RequestIds,
    content_headers,
    digest_of,
    hash_range,
    is_digest,
    is_host,
    is_repository,
    is_tag,
    manifest_media_type,
    next_link,
    not_modified_headers,
    parse_content_range,
    parse_range,
    parse_reference,
    parse_request,
    read_at,
    read_cached,
    read_manifest,
    read_referrers,
    read_stored_manifest,
    upload_path,
)

D = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
C = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ALGORITHMS = ["sha256", "sha384", "sha512"]


def parse(line: str) -> Request:
    """Parse `METHOD path[?query]`, with `{d}` for a digest."""
    method, _, url = line.replace("{d}", D).partition(" ")
    path, _, query = url.partition("?")
    return parse_request(method, path.encode(), query.encode())


# --- the module -----------------------------------------------------------------------------------


def test_module() -> None:
    assert _core.__version__.count(".") >= 2
    assert _core.build_profile in ("debug", "release")
    assert (_core.MAX_MANIFEST_DEPTH, _core.MAX_RANGES) == (64, 1_024)
    assert len(set(_core.REQUEST_KINDS)) == len(_core.REQUEST_KINDS) == 18


def test_classes_name_their_module() -> None:
    for cls in (Appender, BackgroundHasher, ByteRange, Hasher, _core.ManifestInfo, _core.Reference, Request):
        assert cls.__module__ == "ociserver._core"


# --- requests -------------------------------------------------------------------------------------

REQUESTS = {
    "GET /v2/": Request("ping"),
    "GET /v2/foo/blobs/{d}": Request("blob_get", repository="foo", digest=D),
    "HEAD /v2/foo/blobs/{d}": Request("blob_head", repository="foo", digest=D),
    "DELETE /v2/foo/blobs/{d}": Request("blob_delete", repository="foo", digest=D),
    "POST /v2/foo/blobs/uploads/": Request("upload_start", repository="foo"),
    "POST /v2/foo/blobs/uploads/?digest-algorithm=sha512": Request(
        "upload_start", repository="foo", digest_algorithm="sha512"
    ),
    "POST /v2/foo/blobs/uploads/?digest={d}": Request("upload_blob", repository="foo", digest=D),
    "POST /v2/foo/blobs/uploads/?mount={d}": Request("blob_mount", repository="foo", digest=D),
    "POST /v2/foo/blobs/uploads/?mount={d}&from=a/b": Request(
        "blob_mount", repository="foo", digest=D, from_repository="a/b"
    ),
    "GET /v2/foo/blobs/uploads/eHh4": Request("upload_info", repository="foo", upload_id="xxx"),
    "PATCH /v2/foo/blobs/uploads/eHh4": Request("upload_chunk", repository="foo", upload_id="xxx"),
    "PUT /v2/foo/blobs/uploads/eHh4?digest={d}": Request(
        "upload_complete", repository="foo", upload_id="xxx", digest=D
    ),
    "DELETE /v2/foo/blobs/uploads/eHh4": Request("upload_cancel", repository="foo", upload_id="xxx"),
    "GET /v2/foo/manifests/latest": Request("manifest_get", repository="foo", tag="latest"),
    "HEAD /v2/foo/manifests/{d}": Request("manifest_head", repository="foo", digest=D),
    "PUT /v2/foo/manifests/{d}?tag=a&tag=b&tag=a": Request("manifest_put", repository="foo", digest=D, tags=("a", "b")),
    "DELETE /v2/foo/manifests/latest": Request("manifest_delete", repository="foo", tag="latest"),
    "GET /v2/foo/tags/list?n=0&last=a%26b": Request("tags_list", repository="foo", n=0, last="a&b"),
    "GET /v2/foo/referrers/{d}?artifactType=a/b&last=c": Request(
        "referrers_list", repository="foo", digest=D, artifact_type="a/b", last="c"
    ),
    "GET /v2/_catalog?n=9223372036854775807&ns=docker.io": Request("catalog_list", n=2**63 - 1, namespace="docker.io"),
}

FIELDS = [
    "repository",
    "digest",
    "tag",
    "from_repository",
    "upload_id",
    "digest_algorithm",
    "n",
    "last",
    "artifact_type",
    "namespace",
]


@pytest.mark.parametrize("line", REQUESTS)
def test_request_parses(line: str) -> None:
    assert parse(line) == REQUESTS[line]


def test_requests_show_every_kind() -> None:
    assert {request.kind for request in REQUESTS.values()} == set(_core.REQUEST_KINDS)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=repr)
def test_request_is_a_value(request_: Request) -> None:
    method, url = request_.build()
    assert parse(f"{method} {url}") == request_
    for twin in (eval(repr(request_), {"Request": Request}), pickle.loads(pickle.dumps(request_)), copy.copy(request_)):  # noqa: S301, S307
        assert twin == request_
        assert hash(twin) == hash(request_)
    others = [other for other in REQUESTS.values() if other is not request_]
    assert request_ not in others
    assert request_ != object()


def test_request_fields() -> None:
    request = Request("blob_mount", repository="foo/bar", digest=D, from_repository="other", namespace="é")
    found = {name: getattr(request, name) for name in FIELDS if getattr(request, name) is not None}
    assert found == {"repository": "foo/bar", "digest": D, "from_repository": "other", "namespace": "é"}
    assert request.tags == ()
    assert repr(request) == (
        f"Request('blob_mount', repository='foo/bar', digest='{D}', from_repository='other', namespace='é')"
    )
    ping = Request("ping")
    assert [getattr(ping, name) for name in FIELDS] == [None] * len(FIELDS)
    assert (ping.kind, ping.tags, repr(ping)) == ("ping", (), "Request('ping')")


def test_request_kind_is_interned() -> None:
    assert parse("GET /v2/").kind is sys.intern("ping")


def test_request_is_frozen() -> None:
    request: Any = Request("ping")
    with pytest.raises(AttributeError):
        request.kind = "blob_get"
    with pytest.raises(AttributeError):
        request.other = 1


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        ("nothing", {}, "kind is not one of REQUEST_KINDS"),
        ("ping", {"repository": "foo"}, "ping has no repository"),
        ("blob_get", {"repository": "foo"}, "blob_get needs digest"),
        ("blob_get", {"repository": "FOO", "digest": D}, "invalid repository name"),
        ("blob_get", {"repository": "foo", "digest": "sha256:x"}, "badly formed digest"),
        ("manifest_get", {"repository": "foo"}, "manifest_get needs either tag or digest"),
        ("manifest_get", {"repository": "foo", "tag": "a", "digest": D}, "manifest_get needs either tag or digest"),
        ("manifest_put", {"repository": "foo", "tag": "a", "tags": ("b", "b")}, "tags repeats b"),
        ("manifest_put", {"repository": "foo", "tag": "a", "tags": ("-",)}, 'invalid tag "-"'),
        ("upload_start", {"repository": "foo", "digest_algorithm": "md5"}, 'unknown digest algorithm "md5"'),
        ("upload_info", {"repository": "foo", "upload_id": ""}, "upload_id is empty"),
        ("tags_list", {"repository": "foo", "n": -1}, "an integer is negative"),
        ("tags_list", {"repository": "foo", "n": 2**63}, "n is more than 9223372036854775807"),
    ],
)
def test_request_is_checked(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Request(kind, **fields)


@pytest.mark.parametrize(
    "line, err, message",
    [
        ("GET /", errors.UNKNOWN_URL_PATH, "unknown URL path"),
        ("GET /v2/bad", errors.PAGE_NOT_FOUND, "page not found"),
        ("GET /v2/foo/manifests/", errors.PAGE_NOT_FOUND, "page not found"),
        ("GET /v2/FOO/tags/list", errors.INVALID_REPOSITORY_NAME, "invalid repository name"),
        (f"GET /v2/{'a' * 256}/tags/list", errors.INVALID_REPOSITORY_NAME, "longer than 255 characters"),
        ("GET /v2/foo/blobs/md5:00", errors.BADLY_FORMED_DIGEST, "badly formed digest"),
        ("PUT /v2/foo/manifests/sha256:bad", errors.BADLY_FORMED_DIGEST, "badly formed digest"),
        ("POST /v2/foo/blobs/uploads/?digest-algorithm=x", errors.BADLY_FORMED_DIGEST, "sha256, sha384, sha512"),
        ("GET /v2/?a=%zz", errors.BAD_REQUEST, 'invalid query parameters: invalid URL escape "%zz"'),
        ("GET /v2/%zz", errors.BAD_REQUEST, 'invalid URL escape "%zz"'),
        ("GET /v2/_catalog?n=x", errors.BAD_REQUEST, "query parameter n is not a valid integer"),
        ("GET /v2/_catalog?n=-1", errors.BAD_REQUEST, "query parameter n must not be negative"),
        ("GET /v2/foo/blobs/uploads/=", errors.BAD_REQUEST, 'invalid upload ID "=" (cannot decode)'),
        ("PUT /v2/foo/manifests/a?tag=%0A", errors.BAD_REQUEST, r'invalid tag "\n"'),
    ],
)
def test_parse_error(line: str, err: Exception, message: str) -> None:
    with pytest.raises(errors.ParseError) as caught:
        parse(line)
    assert caught.value.err is err
    assert message in caught.value.message
    assert caught.value.allow == ()
    assert 400 <= errors.marshal_error(caught.value).status < 500


@pytest.mark.parametrize(
    "line, allow",
    [
        ("POST /v2/foo/blobs/{d}", ("GET", "HEAD", "DELETE")),
        ("GET /v2/foo/blobs/uploads/", ("POST",)),
        ("POST /v2/foo/blobs/uploads/eHh4", ("GET", "PATCH", "PUT", "DELETE")),
        ("BAR /v2/foo/manifests/latest", ("GET", "HEAD", "PUT", "DELETE")),
        ("HEAD /v2/foo/tags/list", ("GET",)),
        ("HEAD /v2/foo/referrers/{d}", ("GET",)),
        ("get /v2/_catalog", ("GET",)),
    ],
)
def test_method_not_allowed(line: str, allow: tuple[str, ...]) -> None:
    with pytest.raises(errors.ParseError) as caught:
        parse(line)
    assert caught.value.err is errors.METHOD_NOT_ALLOWED
    assert caught.value.allow == allow
    assert errors.marshal_error(caught.value).status == 405


def test_root_path() -> None:
    assert parse_request("GET", b"/a/b/v2/_catalog", b"", b"/a/b").kind == "catalog_list"
    assert parse_request("GET", b"/a%2Fb/v2/", b"", root_path=b"/a/b").kind == "ping"
    with pytest.raises(errors.ParseError):
        parse_request("GET", b"/ab/v2/", b"", b"/a")


@settings(deadline=None)  # a busy machine is no error
@given(st.text(max_size=5), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=5))
def test_any_request_line_is_answered(method: str, path: bytes, query: bytes, root_path: bytes) -> None:
    for line in (path, b"/v2/" + path):
        try:
            parse_request(method, line, query, root_path)
        except errors.ParseError as error:
            assert error.message.isprintable()  # noqa: PT017 - not every line is refused


def test_method_may_be_any_text() -> None:
    with pytest.raises(errors.ParseError):
        parse_request("\udcff", b"/v2/_catalog", b"")


# --- links and names ------------------------------------------------------------------------------


def test_next_link() -> None:
    link = next_link(b"/v2/foo/tags/list", b"n=2&last=old&x=%41", "a/b")
    assert link == '</v2/foo/tags/list?n=2&x=%41&last=a%2Fb>;rel="next"'
    assert next_link(b"/v2/_catalog", b"", "b") == '</v2/_catalog?last=b>;rel="next"'


def test_upload_path() -> None:
    upload_id = "https://example.com/x?a=b&c=é"
    path = upload_path("foo/bar", upload_id)
    assert path.startswith("/v2/foo/bar/blobs/uploads/")
    assert parse(f"PATCH {path}").upload_id == upload_id


def test_grammars() -> None:
    assert is_repository("a/b.c/d__e/f--g")
    assert is_tag("v1.0_x-y")
    assert is_digest(D)
    assert is_host("localhost:1234")
    for predicate in (is_repository, is_tag, is_digest, is_host):
        for text in ("", "é", "a\n", "\udcff", "/"):
            assert predicate(text) is False, (predicate, text)
    assert not is_repository("a" * 256)
    assert not is_tag("a" * 129)
    assert not is_host("localhost")


def test_parse_reference() -> None:
    assert parse_reference(f"foo.com:5000/a/b:tag@{D}", relative=False) == ("foo.com:5000", "a/b", "tag", D)
    assert parse_reference("a/b", relative=True) == ("", "a/b", "", "")


@pytest.mark.parametrize(
    "text, relative, message",
    [
        ("a/b", False, "reference does not contain host name"),
        ("foo:", True, 'invalid reference syntax ("foo:")'),
        ("a:" + "t" * 129, True, "tag too long"),
        ("a/" * 128 + "a", True, "repository name too long"),
        ("a@sha256:00", True, 'invalid digest "sha256:00": invalid checksum digest length'),
    ],
)
def test_bad_reference(text: str, relative: bool, message: str) -> None:  # noqa: FBT001 - a table's column
    with pytest.raises(ValueError, match=r".") as caught:
        parse_reference(text, relative=relative)
    assert str(caught.value) == message


# --- ranges ---------------------------------------------------------------------------------------


def test_byte_range() -> None:
    for first, last, resolved in [
        (0, 0, (0, 1)),
        (3, None, (3, 10)),
        (None, 5, (5, 10)),
        (None, 50, (0, 10)),
        (3, 50, (3, 10)),
        (10, None, None),
        (None, 0, None),
        (0, 2**64 - 1, (0, 10)),
    ]:
        found = ByteRange(first, last)
        assert (found.first, found.last, found.resolve(10)) == (first, last, resolved)
        assert repr(found) == f"ByteRange({first}, {last})"
        twin = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
        assert twin == found
        assert hash(twin) == hash(found)
    assert ByteRange(0, 1) != ByteRange(0, 2)


@pytest.mark.parametrize("first, last", [(None, None), (2, 1), (-1, None), (None, -1), (0, 2**64), (-(2**70), 0)])
def test_bad_byte_range(first: int | None, last: int | None) -> None:
    with pytest.raises(ValueError, match=r"range|integer"):
        ByteRange(first, last)


def test_resolve_needs_a_size() -> None:
    with pytest.raises(ValueError, match="integer"):
        ByteRange(0, 1).resolve(-1)


def test_parse_range() -> None:
    assert parse_range(b"bytes=0-4, -5,7-") == [ByteRange(0, 4), ByteRange(None, 5), ByteRange(7, None)]
    assert parse_range(b"bytes=") is None
    assert parse_range(b"items=0-4") is None
    assert len(parse_range(b"bytes=" + b"0-0," * 1024) or []) == _core.MAX_RANGES
    # RFC 9110, 14.2: a server may ignore the header.
    assert parse_range(b"bytes=" + b"0-0," * 1025) is None


@pytest.mark.parametrize("header", [b"", b"bytes=5-0", b"bytes=x", b"bytes=-", b"\xff", b"bytes=0-0,x"])
def test_bad_range(header: bytes) -> None:
    with pytest.raises(errors.OCIError) as caught:
        parse_range(header)
    wire = errors.marshal_error(caught.value)
    assert (wire.code, wire.status) == ("RANGE_INVALID", 416)


def test_parse_content_range() -> None:
    assert parse_content_range(b"0-0") == (0, 0)
    assert parse_content_range(b"5-9") == (5, 9)
    assert parse_content_range(b"5-4") == (5, 4)
    for header in (b"", b"0-bar", b"bytes 0-5/6", b"5-3", b"0--1", b"\xff-1"):
        with pytest.raises(errors.OCIError) as caught:
            parse_content_range(header)
        wire = errors.marshal_error(caught.value)
        assert (wire.code, wire.status) == ("UNSUPPORTED", 400)
        assert wire.message == "we don't understand your Content-Range"


# --- hashes ---------------------------------------------------------------------------------------


def expected(algorithm: str, data: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@settings(deadline=None)  # a busy machine is no error
@given(st.sampled_from(ALGORITHMS), st.lists(st.binary(max_size=200), max_size=5))
def test_hasher_is_hashlib(algorithm: str, chunks: list[bytes]) -> None:
    hasher = Hasher(algorithm)
    for chunk in chunks:
        hasher.update(chunk)
        hasher = Hasher.resume(hasher.save())
    data = b"".join(chunks)
    assert hasher.digest() == hasher.digest() == digest_of(data, algorithm) == expected(algorithm, data)
    assert (hasher.algorithm, hasher.length) == (algorithm, len(data))


def test_hasher_defaults_to_sha256() -> None:
    assert Hasher().digest() == digest_of(b"") == expected("sha256", b"")


def test_bad_algorithm() -> None:
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        Hasher("md5")
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        digest_of(b"", "SHA256")


@pytest.mark.parametrize("state", [b"", b"\x01", b"\x02" + Hasher().save()[1:], Hasher().save() + b"x", b"\xff" * 42])
def test_bad_state(state: bytes) -> None:
    with pytest.raises(ValueError, match="not a saved state of a hash"):
        Hasher.resume(state)


@pytest.mark.parametrize("size", [100, 4095, 4096, 1 << 20])
def test_hasher_is_shared_between_threads(size: int) -> None:
    hasher, data = Hasher(), b"\0" * size

    # All updates are the same, so their order does not matter; none may be lost or torn.
    def work() -> None:
        for _ in range(10):
            hasher.update(data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.length == 40 * size
    assert hasher.digest() == expected("sha256", bytes(40 * size))


def left(worker: Appender | BackgroundHasher, backlog: int) -> None:
    """Wait until no more is left than that."""
    reached = threading.Event()
    worker.when_left(backlog, reached.set)
    assert reached.wait(60)
    assert worker.left() <= backlog


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("sizes", [(), (0,), (100_000,), (1, 100_000, 1, 65_536, 3_000_000), (70_000,) * 50])
def test_background_hasher_is_hashlib(algorithm: str, sizes: tuple[int, ...]) -> None:
    hasher, pieces = BackgroundHasher(algorithm), [os.urandom(size) for size in sizes]
    for piece in pieces:
        # At most what there was, and all that is held.
        assert hasher.add(piece) <= sum(sizes)
    left(hasher, 0)
    assert hasher.digest() == expected(algorithm, b"".join(pieces))


def test_background_hasher_says_what_is_left() -> None:
    hasher, piece = BackgroundHasher(), bytes(50_000_000)
    assert hasher.add(b"small") == 0
    assert hasher.add(piece) == len(piece)
    with pytest.raises(RuntimeError, match="some bytes are not hashed yet"):
        hasher.digest()
    other = threading.Event()
    hasher.when_left(0, other.set)
    left(hasher, 0)
    assert hasher.digest() == expected("sha256", b"small" + piece)
    assert other.wait(60)
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        BackgroundHasher("md5")


def test_background_hashers_share_their_threads() -> None:
    piece = os.urandom(300_000)
    hashers = [BackgroundHasher() for _ in range(40)]
    for _ in range(5):
        for hasher in hashers:
            hasher.add(piece)
    for hasher in hashers:
        left(hasher, 0)
    assert {hasher.digest() for hasher in hashers} == {expected("sha256", piece * 5)}


# --- files ----------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert read_at(file.fileno(), 10, 20) == data[10:30]
        assert read_at(file.fileno(), len(data) - 5, 20) == data[-5:]
        # Just written: in memory. None is what a system says that cannot tell.
        assert read_cached(file.fileno(), 10, 20) in (data[10:30], None)
        assert read_cached(file.fileno(), len(data) - 5, 20) in (data[-5:], None)
        assert read_cached(file.fileno(), len(data), 20) in (b"", None)
        hasher = Hasher("sha512")
        hash_range(file.fileno(), 1, 200_000, hasher)
        assert hasher.digest() == expected("sha512", data[1:200_001])
        with pytest.raises(OSError, match=r"."):
            hash_range(file.fileno(), 0, len(data) + 1, Hasher())


def test_file_errors_have_a_number() -> None:
    for fd in (-1, 2**31 - 1):
        with pytest.raises(OSError, match=r".") as caught:
            read_at(fd, 0, 1)
        assert caught.value.errno == errno.EBADF
        if sys.platform == "linux":
            with pytest.raises(OSError, match=r".") as caught:
                read_cached(fd, 0, 1)
            assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (100_000, 1, 3_000_000), (70_000,) * 50])
def test_appender_writes_and_hashes(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    before, pieces = os.urandom(1000), [os.urandom(size) for size in sizes]
    content = before + b"".join(pieces)
    (tmp_path / "file").write_bytes(before)
    known = Hasher()
    known.update(before)
    with (tmp_path / "file").open("r+b") as file:
        hasher = BackgroundHasher.resume(known)
        appender = Appender(file.fileno(), len(before), hasher, begin=True)
        for piece in pieces:
            backlog = appender.add(piece)
            assert backlog is not None
            assert backlog <= sum(sizes)
        left(appender, 0)
        appender.check()
        assert (appender.size(), hasher.length(), hasher.hasher().length) == (len(content), len(content), len(content))
        assert hasher.digest() == expected("sha256", content)
    assert (tmp_path / "file").read_bytes() == content
    assert known.length == len(before), "it has a copy"


def test_appender_says_what_is_left(tmp_path: Path) -> None:
    piece = bytes(50_000_000)
    with (tmp_path / "file").open("wb") as file:
        hasher = BackgroundHasher()
        appender = Appender(file.fileno(), 0, hasher, begin=False)
        assert appender.add(piece) == len(piece)
        assert appender.left() == len(piece)
        assert (hasher.hasher().length, hasher.length()) == (0, len(piece))
        left(appender, 0)
        assert hasher.hasher().length == len(piece)


def test_appender_says_what_is_written_before_it_is_hashed(tmp_path: Path) -> None:
    content, written = bytes(50_000_000), threading.Event()
    with (tmp_path / "file").open("wb") as file:
        hasher = BackgroundHasher()
        appender = Appender(file.fileno(), 0, hasher, begin=False)
        appender.add(content)
        appender.when_written(written.set)
        assert written.wait(60)
        assert appender.size() == len(content)
        appender.close()
    # Without a file, and for the next one.
    with (tmp_path / "file").open("r+b") as file:
        appender = Appender(file.fileno(), len(content), hasher, begin=False)
        appender.add(b"more")
        left(appender, 0)
    assert hasher.digest() == expected("sha256", content + b"more")
    assert (tmp_path / "file").read_bytes() == content + b"more"


def test_a_hash_that_is_closed_takes_no_more() -> None:
    hasher = BackgroundHasher()
    for _ in range(100):
        hasher.add(bytes(1_000_000))
    hasher.close()
    assert hasher.add(b"x") in (0, 1_000_000)
    left(hasher, 0)
    assert hasher.length() == hasher.hasher().length < 100_000_000


def test_appender_that_is_closed_takes_no_more(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), begin=True)
        for _ in range(100):
            appender.add(bytes(1_000_000))
        appender.close()
        assert appender.add(b"x") is None
        left(appender, 0)
        size = appender.size()
    assert size == (tmp_path / "file").stat().st_size < 100_000_000


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_appender_after_an_error(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (tmp_path / "file").open("rb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), begin=True)
        appender.add(bytes(size))
        left(appender, 0)
        assert appender.add(bytes(size)) is None
        with pytest.raises(OSError, match=r".") as caught:
            appender.check()
        assert caught.value.errno == errno.EBADF
        appender.check()
        assert (appender.size(), appender.add(b"x")) == (0, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_can_be_told() -> None:
    with Path("/dev/full").open("wb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), begin=True)
        appender.add(b"x")
        left(appender, 0)
        with pytest.raises(OSError, match=r".") as caught:
            appender.check()
    assert caught.value.errno == errno.ENOSPC


# --- manifests ------------------------------------------------------------------------------------


def descriptor(digest: str = D, size: int = 3, media_type: str = "a/b") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def read(content: Any, media_type: str) -> ManifestInfo:
    return read_manifest(json.dumps(content).encode(), media_type)


def references(info: ManifestInfo) -> list[tuple[str, str, str, bool]]:
    return [(found.field, found.kind, found.digest, found.required) for found in info.references]


def test_image() -> None:
    info = read(
        {
            "config": descriptor(C, media_type="app/config"),
            "layers": [descriptor(), descriptor(media_type="application/vnd.oci.image.layer.nondistributable.v1.tar")],
            "subject": descriptor(C),
            "annotations": {"a": "1", "é": "\n"},
        },
        IMAGE + "; charset=utf-8",
    )
    assert (info.kind, info.media_type) == ("image", IMAGE)
    assert references(info) == [
        ("config", "blob", C, True),
        ("layers[0]", "blob", D, True),
        ("layers[1]", "blob", D, False),
    ]
    assert (info.subject, info.artifact_type) == (C, "app/config")
    assert info.annotations == {"a": "1", "é": "\n"}
    assert info.annotations_json == '{"a":"1","é":"\\n"}'.encode()
    # Whoever lists a thousand of them copies none.
    assert info.annotations_json is info.annotations_json
    assert repr(info) == "<ManifestInfo image, 3 references>"


def test_index() -> None:
    info = read({"manifests": [descriptor()], "artifactType": "own/type"}, INDEX)
    assert references(info) == [("manifests[0]", "unknown", D, True)]
    assert [reference.size for reference in info.references] == [3]
    assert (info.kind, info.subject, info.artifact_type, info.annotations) == ("index", None, "own/type", {})
    assert info.annotations_json is None


def test_reference_is_a_value() -> None:
    info = read({"manifests": [descriptor(media_type=IMAGE), descriptor(media_type=IMAGE)]}, INDEX)
    first, second = info.references
    assert first == info.references[0] != second
    assert hash(first) == hash(info.references[0])
    assert repr(first) == f"<Reference manifests[0]: manifest {D}, required>"
    # What one caller does to its list is no business of the next.
    info.references.clear()
    info.annotations["x"] = "y"
    assert len(info.references) == 2
    assert info.annotations == {}


@pytest.mark.parametrize(
    "media_type, kind, content, found",
    [
        (
            "manifest.v2",
            "image",
            {"config": descriptor(C), "layers": [descriptor()]},
            [("config", "blob", True), ("layers[0]", "blob", True)],
        ),
        ("manifest.list.v2", "index", {"manifests": [descriptor()]}, [("manifests[0]", "unknown", True)]),
        ("manifest.v1", "other", {"fsLayers": [{"blobSum": D}]}, [("fsLayers[0]", "blob", True)]),
        ("unknown", "other", {"a": [{"b": descriptor()}]}, [("a[0].b", "unknown", False)]),
    ],
)
def test_docker_s_types_and_other_json(
    media_type: str, kind: str, content: Any, found: list[tuple[str, str, bool]]
) -> None:
    info = read({**content, "subject": descriptor()}, f"application/vnd.docker.distribution.{media_type}+json")
    assert info.kind == kind
    # In what is searched the subject is a descriptor like any other.
    searched = [("subject", "unknown", False)] if kind == "other" else []
    assert [(one.field, one.kind, one.required) for one in info.references] == found + searched
    assert (info.subject, info.artifact_type) == (None, None)


@pytest.mark.parametrize("content", [b"", b"foo", b"\xff", b"[" * 65, b"{} {}"])
def test_what_is_no_json_is_opaque(content: bytes) -> None:
    info = read_manifest(content, "application/octet-stream")
    assert (info.kind, info.references) == ("opaque", [])
    for lax in (False, True):
        with pytest.raises(errors.OCIError):
            read_manifest(content, IMAGE, lax=lax)


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "invalid manifest: no descriptor in config"),
        ({"config": descriptor(), "layers": [descriptor(size=-1)]}, "size of layers[0]"),
        ({"config": descriptor(), "layers": [descriptor("x")]}, 'bad descriptor in layers[0]: invalid digest "x"'),
        ({"config": descriptor(size=0)}, "bad descriptor in config: zero sized content with mismatching digest"),
        ({"config": descriptor(media_type="")}, "bad descriptor in config: no media type in descriptor"),
        ({"config": descriptor(), "subject": {}}, "bad descriptor in subject"),
        ({"config": descriptor(), "annotations": {"a": 1}}, "annotations"),
        ({"config": descriptor(), "Layers": []}, "a key that differs from layers in case alone"),
        ([], "expected an object"),
    ],
)
def test_bad_image(content: Any, message: str) -> None:
    with pytest.raises(errors.OCIError) as caught:
        read(content, IMAGE)
    wire = errors.marshal_error(caught.value)
    assert (wire.code, wire.status) == ("MANIFEST_INVALID", 400)
    assert message in wire.message


def test_duplicate_keys() -> None:
    with pytest.raises(errors.OCIError, match="manifests stands there twice"):
        read_manifest(b'{"manifests":[],"manifests":[]}', INDEX)


def test_lax_reading_holds_to_json_alone() -> None:
    info = read_manifest(json.dumps({"config": {"digest": D}}).encode(), IMAGE, lax=True)
    assert (info.kind, references(info)) == ("image", [("config", "unknown", D, False)])


def test_a_type_that_is_too_long_for_a_list() -> None:
    with pytest.raises(errors.OCIError, match="of more than 255 bytes"):
        read({"manifests": [], "artifactType": "x" * 256}, INDEX)


def test_read_referrers() -> None:
    entries = [
        {**descriptor(), "artifactType": "a/b", "annotations": {"é": "\n", "b": ""}},
        {**descriptor(C), "annotations": {}, "artifactType": ""},
    ]
    first, second = [(entry["mediaType"], entry["digest"], entry["size"]) for entry in entries]
    content = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    assert read_referrers(content) == [(*first, "a/b", '{"é":"\\n","b":""}'.encode()), (*second, None, None)]
    assert read_referrers(b'{"manifests":null}') == []
    for bad in (b"", b"[]", b'{"manifests":[{}]}', b"\xff"):
        with pytest.raises(ValueError, match=r"EOF|expected|descriptor"):
            read_referrers(bad)


def test_large_manifests() -> None:
    # Above the size from which they are read without the GIL.
    info = read({"manifests": [], "annotations": {"a": "x" * 3_900_000}}, INDEX)
    assert len(info.annotations["a"]) == 3_900_000
    assert len(read({"manifests": [descriptor()] * 30_000}, INDEX).references) == 30_000


def test_the_media_type_of_a_manifest() -> None:
    content = json.dumps({"mediaType": IMAGE, "config": descriptor()}).encode()
    for declared in ("", IMAGE, IMAGE.upper(), f"{IMAGE}; charset=utf-8"):
        assert manifest_media_type(content, declared) == IMAGE
        assert read_manifest(content, declared).media_type == IMAGE
    for declared in (INDEX, "text/plain"):
        for read_it in (manifest_media_type, read_manifest):
            with pytest.raises(errors.OCIError, match="mediaType in the manifest is") as caught:
                read_it(content, declared)
            assert errors.marshal_error(caught.value).status == 400
        # What is stored is what its bytes say.
        stored = read_stored_manifest(content, declared)
        assert (stored.media_type, stored.kind, len(stored.references)) == (IMAGE, "image", 1)
    assert manifest_media_type(b"{}", "") == "application/octet-stream"


@settings(deadline=None)  # a busy machine is no error
@given(st.binary(max_size=60), st.sampled_from([IMAGE, INDEX, "text/plain", ""]))
def test_any_manifest_is_answered(content: bytes, media_type: str) -> None:
    for text in (content, b'{"config":{' + content + b"}}"):
        try:
            read_manifest(text, media_type)
        except errors.OCIError as error:
            assert error.code == "MANIFEST_INVALID"  # noqa: PT017 - not every content is refused


# --- names of requests ----------------------------------------------------------------------------


def test_names_of_requests() -> None:
    ids = RequestIds("me")
    assert [ids.of(header) for header in (None, b"mine", b"", b"a\n", b"x" * 128, b"x" * 129)] == [
        "me-1",
        "mine",
        "me-2",
        "me-3",
        "x" * 128,
        "me-4",
    ]
    # Of an argument whose bytes were no text.
    assert RequestIds("\udcff").of(None) == r"\udcff-1"


# --- requests as ASGI servers hand them over -------------------------------------------------------


async def receive() -> Any: ...


async def send(message: Any) -> None: ...


def exchange(headers: Any) -> Exchange:
    return Exchange("handler", {"headers": headers}, receive, send)


def test_an_exchange_has_what_it_was_given() -> None:
    scope: dict[str, Any] = {"headers": []}
    made = Exchange("site", scope, receive, send)
    assert made.scope is scope
    assert (made.site, made.receive, made.send) == ("site", receive, send)
    assert (made.has_body, made.if_none_match, made.range, made.x_request_id) == (False, None, None, None)


# ASGI asks for an iterable of pairs; servers and test clients give these.
@pytest.mark.parametrize("form", [list, tuple, iter, lambda pairs: [list(pair) for pair in pairs]])
def test_headers_of_an_exchange(form: Callable[[Any], Any]) -> None:
    pairs = [
        (b"host", b"h"),
        (b"x-request-id", b"1"),
        (b"range", b"bytes=0-1"),
        (b"if-none-match", b'"a"'),
        (b"range", b"bytes=5-"),
    ]
    made = exchange(form(pairs))
    assert (made.if_none_match, made.range, made.x_request_id, made.has_body) == (b'"a"', b"bytes=5-", b"1", False)


@pytest.mark.parametrize("name", [b"content-length", b"transfer-encoding"])
def test_a_body_is_announced(name: bytes) -> None:
    assert exchange([(name, b"")]).has_body
    assert not exchange([(name + b"s", b"1"), (name[:-1], b"1")]).has_body


@pytest.mark.parametrize("headers", [None, [1], [()], [(b"range",)], [("range", "x")], [(b"range", 1)]])
def test_what_is_no_headers(headers: Any) -> None:
    with pytest.raises((TypeError, IndexError)):
        exchange(headers)
    with pytest.raises(KeyError):
        Exchange("handler", {}, receive, send)


@pytest.mark.parametrize(
    "media_type, value",
    [("text/plain", b"text/plain"), ("", b""), ("text/\xe9", b"text/\xe9"), ("\u20acx", b"?x")],
)
def test_content_headers(media_type: str, value: bytes) -> None:
    headers = content_headers(media_type, D, 12)
    assert sorted(headers) == [
        (b"content-length", b"12"),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"content-type", value),
        (b"docker-content-digest", D.encode()),
        (b"etag", b'"%s"' % D.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    assert content_headers(media_type, D, 12) is not headers
    without = content_headers(media_type, D, 12, names_digest=False)
    assert set(headers) - set(without) == {(b"docker-content-digest", D.encode())}


def test_headers_of_what_is_not_modified() -> None:
    etag = (b"etag", b'"%s"' % D.encode())
    assert sorted(not_modified_headers(D)) == [(b"docker-content-digest", D.encode()), etag]
    assert not_modified_headers(D, names_digest=False) == [etag]


FORKED = """
import hashlib, os, signal, sys, threading
from ociserver._core import Appender, BackgroundHasher

content = bytes(1 << 20)
wanted = "sha256:" + hashlib.sha256(content).hexdigest()

def hash_twice():
    with open(os.devnull, "wb") as file:
        hasher = BackgroundHasher()
        worker = Appender(file.fileno(), 0, hasher, True)
        done = threading.Event()
        worker.add(content)
        worker.when_left(0, done.set)
        done.wait()
        assert hasher.digest() == wanted

hash_twice()
child = os.fork()
signal.alarm(10)
hash_twice()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_was_forked_has_threads_of_its_own() -> None:
    """Its parent's are not there, and what was given to them would never be hashed."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    subprocess.run(command, check=True, timeout=30)
