"""Grammars, compared with the regular expressions in the text of the specs."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociserver import ParseError, Reference
from ociserver._core import (
    REQUEST_KINDS,
    Request,
    is_digest,
    is_repository,
    is_tag,
    next_link,
    parse_request,
    upload_path,
)

# distribution-spec, "Pulling manifests": <name> and <reference> as a tag.
REPOSITORY = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
# image-spec, "Digests": registered algorithms, with the length of their hexadecimal form.
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128}", re.ASCII)

LONGEST_REPOSITORY = 255

near_names = st.text(alphabet="ab09._-/A@:\n é", max_size=20)
repositories = st.from_regex(REPOSITORY, fullmatch=True).filter(lambda name: len(name) <= LONGEST_REPOSITORY)
tags = st.from_regex(TAG, fullmatch=True)
digests = st.from_regex(DIGEST, fullmatch=True)
anything = st.text(max_size=40).filter(lambda text: text.isprintable() or text == "")


@given(near_names | repositories | st.text(max_size=30))
def test_repository(text: str) -> None:
    assert is_repository(text) == bool(REPOSITORY.fullmatch(text) and len(text) <= LONGEST_REPOSITORY)


@given(near_names | tags | st.text(max_size=140))
def test_tag(text: str) -> None:
    assert is_tag(text) == bool(TAG.fullmatch(text))


@given(digests | digests.map(str.upper) | digests.map(lambda digest: digest[:-1]) | near_names)
def test_digest(text: str) -> None:
    assert is_digest(text) == bool(DIGEST.fullmatch(text))


@given(repositories, tags | st.just(""), digests | st.just(""))
def test_a_printed_reference_is_parsed_again(repository: str, tag: str, digest: str) -> None:
    reference = Reference("registry.example:5000", repository, tag, digest)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse_relative(str(reference)) == reference


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Any request with the fields of its kind."""
    kind = draw(st.sampled_from(REQUEST_KINDS))
    fields: dict[str, object] = {}
    if kind not in ("ping", "catalog_list"):
        fields["repository"] = draw(repositories)
    if kind in (
        "blob_get",
        "blob_head",
        "blob_delete",
        "upload_blob",
        "blob_mount",
        "upload_complete",
        "referrers_list",
    ):
        fields["digest"] = draw(digests)
    if kind.startswith("manifest_"):
        name, strategy = draw(st.sampled_from((("digest", digests), ("tag", tags))))
        fields[name] = draw(strategy)
    if kind == "manifest_put":
        fields["tags"] = tuple(draw(st.lists(tags, max_size=5, unique=True)))
    if kind == "blob_mount":
        fields["from_repository"] = draw(st.none() | repositories)
    if kind in ("upload_info", "upload_chunk", "upload_complete", "upload_cancel"):
        fields["upload_id"] = draw(st.text(min_size=1, max_size=60))
    if kind == "upload_start":
        fields["digest_algorithm"] = draw(st.sampled_from((None, "sha256", "sha384", "sha512")))
    if kind in ("tags_list", "catalog_list"):
        fields["n"] = draw(st.none() | st.integers(0, 2**63 - 1))
    if kind in ("tags_list", "catalog_list", "referrers_list"):
        fields["last"] = draw(st.none() | st.text(min_size=1, max_size=40))
    if kind == "referrers_list":
        fields["artifact_type"] = draw(st.none() | st.text(min_size=1, max_size=40))
    return Request(kind, **fields)  # type: ignore[arg-type]


@given(requests())
def test_a_built_request_is_parsed_again(request: Request) -> None:
    method, url = request.build()
    path, _, query = url.partition("?")
    assert parse_request(method, path.encode(), query.encode()) == request
    # The same request to an application that is mounted under a prefix.
    assert parse_request(method, b"/some/where" + path.encode(), query.encode(), b"/some/where") == request


@given(st.text(max_size=8), st.binary(max_size=60), st.binary(max_size=40))
def test_any_bytes_are_a_request_or_a_parse_error(method: str, path: bytes, query: bytes) -> None:
    try:
        outcome: str = parse_request(method, b"/v2/" + path, query).kind
    except ParseError as error:
        outcome = error.code
    assert outcome in (*REQUEST_KINDS, "UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "DIGEST_INVALID")


@given(repositories, st.text(min_size=1, max_size=80))
def test_a_path_keeps_any_upload_id(repository: str, upload_id: str) -> None:
    path = upload_path(repository, upload_id)
    assert path.isascii()
    assert parse_request("PATCH", path.encode(), b"").upload_id == upload_id


@given(repositories, st.text(min_size=1, max_size=40), st.integers(1, 1000))
def test_a_link_leads_to_the_next_page(repository: str, last: str, n: int) -> None:
    link = next_link(f"/v2/{repository}/tags/list".encode(), f"n={n}&last=before".encode(), last)
    target = re.fullmatch(r'<([^>]*)>;\s*rel="next"', link)
    assert target, link
    path, _, query = target[1].partition("?")
    request = parse_request("GET", path.encode(), query.encode())
    assert (request.repository, request.n, request.last) == (repository, n, last)


@pytest.mark.parametrize("name", ["a\n", "A", "é", "a//b", "/a", "a/", "a..b", "a___b", ""])
def test_invalid_names(name: str) -> None:
    assert not is_repository(name)
