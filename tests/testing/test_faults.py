"""Faults: what clients get, and what is refused because it could never happen."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import httpx
import pytest

from ociserver.testing import Registry, faults
from ociserver.testing.globs import overlap
from tests.support.images import digest_of, random_bytes
from tests.support.tools import require_tool

CONTENT = random_bytes(100_000, seed=22)
BLOB = f"/v2/app/blobs/{digest_of(CONTENT)}"


@pytest.fixture
def blob(oci_registry: Registry) -> bytes:
    oci_registry.push_blob("app", CONTENT)
    return CONTENT


def crane(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_tool("crane"), *map(str, arguments)],
        env={"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_too_many_requests(oci_registry: Registry, client: httpx.Client) -> None:
    oci_registry.push("app", "v1")
    oci_registry.fail(429, retry_after=7, kind="manifest_get", repository="a*", times=2, skip=1)
    answers = [client.get("/v2/app/manifests/v1") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert answers[1].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert client.get("/v2/app/tags/list").status_code == 200
    oci_registry.assert_faults_met()
    assert [request.fault and str(request.fault) for request in oci_registry.requests][:2] == [
        None,
        "429 Too Many Requests",
    ]


def test_a_push_meets_a_server_error_once_its_body_is_read(oci_registry: Registry, client: httpx.Client) -> None:
    oci_registry.fail(faults.Status(503, code="UNAVAILABLE", message="maintenance"), method="POST")
    answer = client.post(f"/v2/app/blobs/uploads/?digest={digest_of(CONTENT)}", content=CONTENT)
    assert (answer.status_code, answer.json()["errors"][0]) == (503, {"code": "UNAVAILABLE", "message": "maintenance"})
    assert oci_registry.repositories() == []
    # The connection can still be used.
    assert client.post(f"/v2/app/blobs/uploads/?digest={digest_of(CONTENT)}", content=CONTENT).status_code == 201
    assert oci_registry.blob("app", digest_of(CONTENT)) == CONTENT


def test_resets(oci_registry: Registry, client: httpx.Client, blob: bytes) -> None:
    oci_registry.fail(faults.Reset(), kind="blob_get")
    with pytest.raises(httpx.ReadError):
        client.get(BLOB)
    assert (oci_registry.requests[-1].status, str(oci_registry.requests[-1])) == (None, f"GET {BLOB} no answer")
    oci_registry.fail(faults.Reset(after=1000), kind="blob_get")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get(BLOB)
    assert client.get(BLOB).content == blob
    oci_registry.assert_faults_met()


def test_a_reset_in_the_middle_of_an_upload_keeps_what_arrived(oci_registry: Registry, client: httpx.Client) -> None:
    location = client.post("/v2/app/blobs/uploads/").headers["Location"]
    oci_registry.fail(faults.Reset(after=60_000), kind="upload_chunk")
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        client.patch(location, content=CONTENT)
    oci_registry.assert_faults_met()
    assert client.get(location).headers["Range"] == "0-59999"
    assert client.put(f"{location}?digest={digest_of(CONTENT)}", content=CONTENT[60_000:]).status_code == 201


@pytest.mark.parametrize("after,received", [(None, 50_000), (0, 0), (99_999, 99_999)])
def test_a_truncated_body(oci_registry: Registry, blob: bytes, after: int | None, received: int) -> None:
    oci_registry.fail(faults.Truncate(after), kind="blob_get")
    with closing(HTTPConnection(oci_registry.host, timeout=10)) as connection:
        connection.request("GET", BLOB)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Length"]) == (200, "100000")
        with pytest.raises(IncompleteRead) as failed:
            answer.read()
    assert failed.value.partial == blob[:received]
    oci_registry.assert_faults_met()


def test_a_fault_that_could_not_be_shown_is_not_met(oci_registry: Registry, client: httpx.Client, blob: bytes) -> None:
    oci_registry.fail(faults.Truncate(after=100_000), repository="app")
    assert client.get(BLOB).content == blob
    assert client.head(BLOB).status_code == 200
    with pytest.raises(AssertionError) as failed:
        oci_registry.assert_faults_met()
    assert str(failed.value).splitlines() == [
        "faults that were not met:",
        "  Truncate(after=100000) for requests with repository='app': to be met 1 time, met 0",
        "requests:",
        f"  GET {BLOB} 200",
        f"  HEAD {BLOB} 200",
    ]
    oci_registry.reset()
    oci_registry.assert_faults_met()


def test_a_reset_or_a_change_that_cannot_be_shown(oci_registry: Registry, client: httpx.Client, blob: bytes) -> None:
    oci_registry.fail(faults.Reset(after=100_000), kind="upload_blob")
    assert client.post(f"/v2/app/blobs/uploads/?digest={digest_of(b'x')}", content=b"x").status_code == 201
    oci_registry.fail(faults.Corrupt())
    assert client.get("/v2/app/manifests/absent").status_code == 404
    assert [request.fault for request in oci_registry.requests] == [None, None]
    with pytest.raises(AssertionError, match=r"Reset.after=100000. .* met 0\n  Corrupt.. .* met 0"):
        oci_registry.assert_faults_met()
    assert client.get(BLOB).content != blob


def test_a_slow_answer(oci_registry: Registry, client: httpx.Client, blob: bytes) -> None:
    oci_registry.fail(faults.Slow(delay_s=0.2, bytes_per_s=500_000), kind="blob_get")
    began = time.monotonic()
    with client.stream("GET", BLOB) as answer:
        started = time.monotonic() - began
        assert answer.read() == blob
    assert started >= 0.2
    assert time.monotonic() - began >= 0.2 + 0.2
    # The registry stops at once, however slow it is.
    oci_registry.fail(faults.Slow(bytes_per_s=1), kind="blob_get")
    with client.stream("GET", BLOB):
        began = time.monotonic()
        oci_registry.stop()
        assert time.monotonic() - began < 2


def test_corrupted_contents(oci_registry: Registry, tmp_path: Path) -> None:
    """crane notices, whether a layer or a manifest is wrong."""
    image = oci_registry.image("app", "v1", {"file": random_bytes(1000, seed=1)})
    for kind in ("manifest_get", "blob_get"):
        oci_registry.fail(faults.Corrupt(), kind=kind, reference="sha256:*")
        done = crane(tmp_path, "pull", "--insecure", image.by_digest, tmp_path / "image.tar")
        assert done.returncode != 0
        assert "sha256" in done.stderr, done.stderr
        oci_registry.assert_faults_met()
    assert crane(tmp_path, "pull", "--insecure", image.by_digest, tmp_path / "image.tar").returncode == 0


def test_a_client_that_retries(oci_registry: Registry, tmp_path: Path) -> None:
    image = oci_registry.image("app", "v1")
    oci_registry.fail(503, kind="manifest_get", times=2)
    done = crane(tmp_path, "manifest", "--insecure", image.reference)
    assert done.stdout.encode() == image.content, done.stderr
    oci_registry.assert_faults_met()
    assert [each.status for each in oci_registry.requests if each.kind == "manifest_get"] == [503, 503, 200]


@pytest.mark.oci_registry(auth=True)
def test_a_token_that_expires_in_the_middle(oci_registry: Registry, client: httpx.Client) -> None:
    image = oci_registry.image("app", "v1")
    assert oci_registry.credentials

    def token() -> dict[str, str]:
        scope = {"scope": "repository:app:pull"}
        answer = client.get("/v2/token", params=scope, auth=oci_registry.credentials)
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    first = token()
    assert client.get("/v2/app/manifests/v1", headers=first).status_code == 200
    oci_registry.fail(faults.ExpiredToken(), kind="blob_get")
    path = f"/v2/app/blobs/{image.blobs[0].digest}"
    answer = client.get(path, headers=first)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    # The token stays expired, and a new one is accepted.
    assert client.get("/v2/app/manifests/v1", headers=first).status_code == 401
    assert client.get(path, headers=token()).status_code == 200
    oci_registry.assert_faults_met()


def test_no_ranges(oci_registry: Registry, client: httpx.Client, blob: bytes) -> None:
    oci_registry.fail(faults.NoRanges(), times=None)
    assert client.get(BLOB).headers["Accept-Ranges"] == "bytes"
    answer = client.get(BLOB, headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (200, blob)
    assert "Accept-Ranges" not in answer.headers
    oci_registry.assert_faults_met()


@pytest.mark.parametrize(
    "fault,pattern,message",
    [
        (429, {"kind": "manifest_gets"}, "did you mean 'manifest_get'"),
        (429, {"kind": "pull"}, "the kinds are blob_delete, "),
        (429, {"method": "get"}, "in capitals"),
        (429, {"kind": "manifest_get", "method": "PUT"}, "the method is never PUT, but GET"),
        (429, {"repository": "Team/*"}, "no repository can have the name 'Team/*'"),
        (429, {"repository": "team/"}, "no repository can have the name 'team/'"),
        (429, {"reference": "a:b"}, "neither a tag nor a digest"),
        (429, {"repository": "a", "kind": "catalog_list"}, "requests of this kind name no repository"),
        (429, {"reference": "v1", "kind": "tags_list"}, "requests of this kind name no reference"),
        (429, {"path": "v2/*"}, "must begin with /"),
        (429, {"path": "/v2/app/manifests/v1", "kind": "blob_get"}, "the path would be /v2/*/blobs/*"),
        (429, {"path": "/v2/other/*", "repository": "team/*"}, "the path would be "),
        (429, {"kind": "token"}, "no token endpoint"),
        (429, {"repository": ""}, "must not be empty"),
        (200, {}, "200 is not the status of an error"),
        (429, {"times": 0}, "times=0 must be 1 or more"),
        (429, {"skip": -1}, "skip=-1 must be 0 or more"),
        (faults.Reset(), {"retry_after": 1}, "belongs to a status"),
        (faults.Corrupt(), {"kind": "tags_list"}, "only meets blob_get and manifest_get"),
        (faults.Truncate(), {"kind": "blob_head"}, "which HEAD has not"),
        (faults.Truncate(), {"method": "HEAD"}, "never HEAD"),
        (faults.NoRanges(), {"method": "PUT"}, "never PUT, but GET"),
        (faults.ExpiredToken(), {}, "no token endpoint: make it with auth=True"),
    ],
    ids=str,
)
def test_what_can_never_happen_is_refused(
    oci_registry: Registry, fault: Any, pattern: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        oci_registry.fail(fault, **pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        {"path": "/v2/app/*"},
        {"path": "/v2/*/blobs/*", "kind": "blob_get", "repository": "a*"},
        {"path": "/healthz"},
        {"kind": "ping", "method": "OPTIONS"},
        {"kind": "upload_chunk", "repository": "team/[a-c]*"},
        {"reference": "sha256:*", "method": "HEAD"},
    ],
    ids=str,
)
def test_what_can_happen_is_accepted(oci_registry: Registry, pattern: dict[str, Any]) -> None:
    assert oci_registry.fail(500, **pattern).met == 0


def test_a_slow_that_is_not_slow() -> None:
    with pytest.raises(ValueError, match="give a delay or a rate"):
        faults.Slow()
    with pytest.raises(ValueError, match="0 or more"):
        faults.Slow(delay_s=-1)


@pytest.mark.parametrize(
    "first,second,expected",
    [
        ("a*", "*b", True),
        ("a*b", "b*", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*/x", "y/*", True),
        ("[ab]c", "zc", True),
        ("", "*", True),
        ("a", "", False),
    ],
)
def test_patterns_that_overlap(first: str, second: str, *, expected: bool) -> None:
    assert overlap(first, second) is overlap(second, first) is expected
