"""The compiled module: its constants, names, references, ranges and header fields.

The Rust tests check the details. Here a few cases show that Python gets the same.
"""

from __future__ import annotations

import pickle

import pytest

from ociserver import _core, errors
from ociserver._core import (
    Appender,
    BackgroundHasher,
    ByteRange,
    Hasher,
    Request,
    RequestIds,
    content_headers,
    is_digest,
    is_host,
    is_repository,
    is_tag,
    next_link,
    not_modified_headers,
    parse_content_range,
    parse_range,
    parse_reference,
)

D = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"


def test_module() -> None:
    assert _core.__version__.count(".") >= 2
    assert _core.build_profile in ("debug", "release")
    assert (_core.MAX_MANIFEST_DEPTH, _core.MAX_RANGES) == (64, 1_024)
    assert len(set(_core.REQUEST_KINDS)) == len(_core.REQUEST_KINDS) == 18


def test_classes_name_their_module() -> None:
    for cls in (Appender, BackgroundHasher, ByteRange, Hasher, _core.ManifestInfo, _core.Reference, Request):
        assert cls.__module__ == "ociserver._core"


def test_next_link() -> None:
    link = next_link(b"/v2/foo/tags/list", b"n=2&last=old&x=%41", "a/b")
    assert link == '</v2/foo/tags/list?n=2&x=%41&last=a%2Fb>;rel="next"'
    assert next_link(b"/v2/_catalog", b"", "b") == '</v2/_catalog?last=b>;rel="next"'


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
        twin = pickle.loads(pickle.dumps(found))  # noqa: S301 - made here
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


def test_request_ids() -> None:
    ids = RequestIds("me")
    assert [ids.of(header) for header in (None, b"mine", b"", b"a\n", b"x" * 128, b"x" * 129)] == [
        "me-1",
        "mine",
        "me-2",
        "me-3",
        "x" * 128,
        "me-4",
    ]
    # A command line argument that is not UTF-8 has lone surrogates.
    assert RequestIds("\udcff").of(None) == r"\udcff-1"


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


def test_not_modified_headers() -> None:
    etag = (b"etag", b'"%s"' % D.encode())
    assert sorted(not_modified_headers(D)) == [(b"docker-content-digest", D.encode()), etag]
    assert not_modified_headers(D, names_digest=False) == [etag]
