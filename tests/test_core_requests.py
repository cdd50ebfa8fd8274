"""Requests of the compiled module: parsing, checks, errors.

The Rust tests check the details. Here a few cases show that Python gets the same.
"""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver import _core, errors
from ociserver._core import Request, parse_request, upload_path

D = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"


def parse(line: str) -> Request:
    """Parse `METHOD path[?query]`, with `{d}` for a digest."""
    method, _, url = line.replace("{d}", D).partition(" ")
    path, _, query = url.partition("?")
    return parse_request(method, path.encode(), query.encode())


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


@settings(deadline=None)  # A busy machine is not an error.
@given(st.text(max_size=5), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=5))
def test_any_request_line_is_parsed_or_refused(method: str, path: bytes, query: bytes, root_path: bytes) -> None:
    for line in (path, b"/v2/" + path):
        try:
            parse_request(method, line, query, root_path)
        except errors.ParseError as error:
            assert error.message.isprintable()  # noqa: PT017 - not every line is refused


def test_method_may_be_any_text() -> None:
    with pytest.raises(errors.ParseError):
        parse_request("\udcff", b"/v2/_catalog", b"")


def test_upload_path() -> None:
    upload_id = "https://example.com/x?a=b&c=é"
    path = upload_path("foo/bar", upload_id)
    assert path.startswith("/v2/foo/bar/blobs/uploads/")
    assert parse(f"PATCH {path}").upload_id == upload_id
