"""Every option of `Options` and its effect (Go: `ociserver.Options`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from ociserver import Descriptor, Handler, HTTPError, Memory, Options, ParseError, Response
from ociserver.types import Scope
from tests.contract.contents import IMAGE, REPOSITORY, descriptor, digest_of, image, push_manifest
from tests.handler.driver import Reply, request
from tests.handler.registry import (
    BLOB,
    CONTENT,
    DIGEST,
    MANIFEST,
    REFERRERS,
    TAG,
    TEXT,
    UPLOADS,
    filled,
    handler,
)

pytestmark = pytest.mark.anyio

PUT_TAG = ("PUT", TAG, CONTENT, {"content-type": IMAGE})
WITH_SUBJECT = image(b"{}", subject=descriptor(IMAGE, b"never pushed"))
PUT_REFERRER = ("PUT", f"/v2/{REPOSITORY}/manifests/referrer", WITH_SUBJECT, {"content-type": IMAGE})


async def tagged(*tags: str, **options: Any) -> Handler:
    """A handler over a registry with exactly these tags, and as many repositories of these names."""
    backend = Memory()
    for tag in tags:
        await push_manifest(backend, b"text", "text/plain", *tags, repository=tag)
    return Handler(backend, Options(**options))


async def test_everything_is_off_by_default() -> None:
    options = Options()
    assert not any(getattr(options, field.name) for field in fields(options))


async def test_options_are_values() -> None:
    with pytest.raises(FrozenInstanceError):
        Options().debug_id = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Options(None)  # type: ignore[call-arg]
    assert Options(debug_id="a") == Options(debug_id="a")


async def test_a_page_size_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="max_list_page_size"):
        Options(max_list_page_size=-1)


# disable_referrers_api


async def test_disable_referrers_api() -> None:
    application = await handler(disable_referrers_api=True)
    reply = await request(application, "GET", REFERRERS)
    assert (reply.status, reply.code, reply.message) == (404, "UNKNOWN", "referrers API has been disabled")
    # After parsing: what is malformed stays so.
    assert (await request(application, "GET", REFERRERS + "x")).status == 400


@pytest.mark.parametrize("disabled", [True, False])
async def test_without_the_api_no_subject_is_answered(*, disabled: bool) -> None:
    # Spec: OCI-Subject says that the registry has processed the subject; a client then leaves out the referrers tag.
    reply = await request(await handler(disable_referrers_api=disabled), *PUT_REFERRER)
    assert reply.status == 201
    assert reply.all("oci-subject") == ([] if disabled else [digest_of(b"never pushed")])


# disable_referrers_filtering


async def test_disable_referrers_filtering() -> None:
    query = "?artifactType=application/unknown"
    reply = await request(await handler(), "GET", REFERRERS + query)
    assert (reply.json()["manifests"], reply["oci-filters-applied"]) == ([], "artifactType")
    reply = await request(await handler(disable_referrers_filtering=True), "GET", REFERRERS + query)
    assert len(reply.json()["manifests"]) == 1
    assert not reply.all("oci-filters-applied")


# disable_single_post_upload


async def test_disable_single_post_upload() -> None:
    application = await handler(disable_single_post_upload=True)
    url = f"{UPLOADS}?digest={digest_of(b'new')}"
    reply = await request(application, "POST", url, b"new")
    assert (reply.status, reply["range"]) == (202, "0-0")
    assert (await request(application, "HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(b'new')}")).status == 404
    # What was started is an upload like any other, with nothing in it.
    reply = await request(application, "PUT", f"{reply['location']}?digest={digest_of(b'new')}", b"new")
    assert reply.status == 201


# max_list_page_size


@pytest.mark.parametrize("path", ["/v2/a/tags/list", "/v2/_catalog"])
async def test_max_list_page_size(path: str) -> None:
    application = await tagged("a", "b", "c", max_list_page_size=2)
    reply = await request(application, "GET", f"{path}?n=3")
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")
    assert reply.message == "query parameter n is too large (n=3, max=2)"
    reply = await request(application, "GET", f"{path}?n=2")
    assert (reply.status, len(names_of(reply))) == (200, 2)
    # Without n there is no limit, and n=0 is answered first.
    assert names_of(await request(application, "GET", path)) == ["a", "b", "c"]
    assert names_of(await request(application, "GET", f"{path}?n=0")) == []


def names_of(reply: Reply) -> list[str]:
    document = reply.json()
    names: list[str] = document["tags"] if "tags" in document else document["repositories"]
    return names


# ignore_pagination


@pytest.mark.parametrize("path", ["/v2/a/tags/list", "/v2/_catalog"])
async def test_ignore_pagination(path: str) -> None:
    application = await tagged("a", "b", "c", ignore_pagination=True, max_list_page_size=1)
    for query in ("?n=1", "?n=2&last=a", "?last=b", "?n=0", ""):
        reply = await request(application, "GET", path + query)
        assert names_of(reply) == ["a", "b", "c"]
        assert not reply.all("link")
    assert (await request(application, "GET", f"{path}?n=x")).status == 400


# omit_digest_from_tag_get_response


async def test_omit_digest_from_tag_get_response() -> None:
    application = await handler(omit_digest_from_tag_get_response=True)
    assert not (await request(application, "GET", TAG)).all("docker-content-digest")
    for method, path in [("HEAD", TAG), ("GET", MANIFEST), ("HEAD", MANIFEST)]:
        assert (await request(application, method, path))["docker-content-digest"] == DIGEST
    # A 304 is an answer to GET as well.
    reply = await request(application, "GET", TAG, headers={"if-none-match": "*"})
    assert (reply.status, reply.all("docker-content-digest")) == (304, [])


# omit_link_header_from_responses


@pytest.mark.parametrize("path", ["/v2/a/tags/list", "/v2/_catalog"])
async def test_omit_link_header_from_responses(path: str) -> None:
    reply = await request(await tagged("a", "b", "c", omit_link_header_from_responses=True), "GET", f"{path}?n=2")
    assert (names_of(reply), reply.all("link")) == (["a", "b"], [])
    reply = await request(await tagged("a", "b", "c"), "GET", f"{path}?n=2")
    assert reply["link"] == f'<{path}?n=2&last=b>;rel="next"'


# location_for_upload_id


def called_later(function: Callable[..., Any]) -> Callable[..., Any]:
    async def later(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return function(*arguments)

    return later


BOTH = pytest.mark.parametrize("kind", [lambda function: function, called_later], ids=["plain", "async"])


@BOTH
async def test_location_for_upload_id(kind: Any) -> None:
    ids: list[str] = []

    def location(upload_id: str) -> str:
        ids.append(upload_id)
        return f"https://uploads.example/{upload_id}"

    backend = Memory()
    plain = Handler(backend)
    application = Handler(backend, Options(location_for_upload_id=kind(location)))
    path = (await request(plain, "POST", UPLOADS))["location"]
    started = await request(application, "POST", UPLOADS)
    patched = await request(application, "PATCH", path, b"text")
    asked = await request(application, "GET", path)
    assert [reply.status for reply in (started, patched, asked)] == [202, 202, 204]
    assert [reply["location"] for reply in (started, patched, asked)] == [f"https://uploads.example/{i}" for i in ids]
    # The backend's own id, and the same one as long as it is the same upload.
    assert ids[0] != ids[1] == ids[2]
    # A finished upload no longer exists.
    finished = await request(application, "PUT", f"{path}?digest={digest_of(b'text')}")
    assert finished["location"] == f"/v2/{REPOSITORY}/blobs/{digest_of(b'text')}"


@BOTH
async def test_no_location_for_an_upload_is_the_own_path(kind: Any) -> None:
    application = Handler(Memory(), Options(location_for_upload_id=kind(lambda upload_id: "")))
    assert (await request(application, "POST", UPLOADS))["location"].startswith(UPLOADS)


# locations_for_descriptor


class Recorder:
    """The callback, noting what it was asked."""

    def __init__(self, *urls: str) -> None:
        self.asked: list[tuple[bool, Descriptor]] = []
        self._urls = urls

    def __call__(self, is_manifest: bool, descriptor: Descriptor) -> Sequence[str]:  # noqa: FBT001  its signature
        self.asked.append((is_manifest, descriptor))
        return [url + descriptor.digest for url in self._urls]


@BOTH
async def test_locations_for_descriptor(kind: Any) -> None:
    recorder = Recorder("https://one.example/", "https://two.example/")
    application = await handler(locations_for_descriptor=kind(recorder))
    digest = digest_of(b"new")
    moved = await request(application, "GET", BLOB, headers={"range": "bytes=0-1"})
    assert (moved.status, moved["location"], moved.body) == (307, f"https://one.example/{digest_of(TEXT)}", b"")
    upload = (await request(application, "POST", UPLOADS))["location"]
    replies = [
        await request(application, "POST", f"{UPLOADS}?digest={digest}", b"new"),
        await request(application, "PUT", f"{upload}?digest={digest}", b"new"),
        await request(application, "POST", f"/v2/other/blobs/uploads/?mount={digest}&from={REPOSITORY}"),
    ]
    assert [(reply.status, reply["location"]) for reply in replies] == [(201, f"https://one.example/{digest}")] * 3
    pushed = await request(application, *PUT_TAG)
    assert (pushed.status, pushed["location"]) == (201, f"https://one.example/{DIGEST}")
    assert [is_manifest for is_manifest, _ in recorder.asked] == [False, False, False, False, True]
    assert recorder.asked[-1][1].digest == DIGEST
    assert recorder.asked[-1][1].media_type == IMAGE


async def test_head_is_not_redirected() -> None:
    reply = await request(await handler(locations_for_descriptor=Recorder("https://one.example/")), "HEAD", BLOB)
    assert (reply.status, reply.all("location")) == (200, [])


async def test_manifests_are_not_redirected() -> None:
    application = await handler(locations_for_descriptor=Recorder("https://one.example/"))
    assert [(await request(application, "GET", path)).status for path in (TAG, MANIFEST)] == [200, 200]


async def test_what_is_not_there_is_not_redirected() -> None:
    recorder = Recorder("https://one.example/")
    reply = await request(await handler(locations_for_descriptor=recorder), "GET", BLOB[:-4] + "0000")
    assert (reply.status, reply.code, recorder.asked) == (404, "BLOB_UNKNOWN", [])


@BOTH
async def test_no_locations_are_the_own_path(kind: Any) -> None:
    application = await handler(locations_for_descriptor=kind(Recorder()))
    reply = await request(application, "GET", BLOB, headers={"range": "bytes=0-1"})
    assert (reply.status, reply.body) == (206, b"01")
    assert (await request(application, *PUT_TAG))["location"] == MANIFEST


@pytest.mark.parametrize("option", ["location_for_upload_id", "locations_for_descriptor"])
@BOTH
async def test_a_callable_that_fails_fails_the_request(kind: Any, option: str) -> None:
    def fail(*_: Any) -> Any:
        raise LookupError("a secret of the callable")

    application = await handler(**{option: kind(fail)})
    for method, path in [("POST", UPLOADS)] if "upload" in option else [("GET", BLOB), PUT_TAG[:2]]:
        reply = await request(application, method, path)
        assert (reply.status, reply.code) == (500, "UNKNOWN")
        assert "secret" not in reply.message


@BOTH
async def test_a_callable_may_refuse_with_an_error_of_its_own(kind: Any) -> None:
    def refuse(*_: Any) -> Any:
        raise HTTPError(503, "no place to upload to", headers={"Retry-After": "5"})

    reply = await request(await handler(location_for_upload_id=kind(refuse)), "POST", UPLOADS)
    assert (reply.status, reply["retry-after"], reply.message) == (503, "5", "no place to upload to")


# write_error


@BOTH
async def test_write_error(kind: Any) -> None:
    seen: list[tuple[Scope, Exception]] = []

    def write(scope: Scope, error: Exception) -> Response:
        seen.append((scope, error))
        return Response(418, {"Content-Type": "text/plain", "X-Reason": "teapot"}, str(error).encode())

    application = await handler(write_error=kind(write))
    replies = [
        await request(application, "GET", "/v2/nothing"),
        await request(application, "GET", BLOB[:-4] + "0000"),
        await request(application, "HEAD", f"/v2/{REPOSITORY}/blobs/x"),
        await request(application, "GET", BLOB, headers={"range": "bytes=50-"}),
    ]
    assert [reply.status for reply in replies] == [418] * 4
    assert [reply["x-reason"] for reply in replies] == ["teapot"] * 4
    assert [reply["content-type"] for reply in replies] == ["text/plain"] * 4
    assert replies[0].body == b"unknown: page not found"
    # A HEAD has the length that GET would have, and no body.
    assert (replies[2].body, replies[2]["content-length"]) == (b"", str(len("digest invalid: badly formed digest")))
    assert [type(error) is ParseError for _, error in seen] == [True, False, True, False]
    assert [scope["method"] for scope, _ in seen] == ["GET", "GET", "HEAD", "GET"]
    # A parse error keeps the header that says what this is.
    assert replies[0]["docker-distribution-api-version"] == "registry/2.0"


async def test_write_error_sees_faults_of_the_backend_as_they_are() -> None:
    class Broken(Memory):
        async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
            raise LookupError("details")

    errors: list[Exception] = []

    def write(scope: Scope, error: Exception) -> Response:
        errors.append(error)
        return Response(500)

    reply = await request(Handler(await filled(Broken()), Options(write_error=write)), "HEAD", BLOB)
    assert (reply.status, reply["content-length"]) == (500, "0")
    assert [str(error) for error in errors] == ["details"]


@BOTH
async def test_write_error_that_fails_leaves_the_default(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(scope: Scope, error: Exception) -> Response:
        raise LookupError("a secret of the callable")

    reply = await request(await handler(write_error=kind(fail)), "GET", BLOB[:-4] + "0000")
    assert (reply.status, reply.code) == (500, "UNKNOWN")
    assert "secret" not in reply.message
    assert "a secret of the callable" in caplog.text


# debug_id


async def test_debug_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "ociserver")
    application = await handler(debug_id="the-registry")
    await request(application, "GET", "/v2/nothing")
    assert caplog.messages[-1].startswith("the-registry-")
    assert application.debug_id == "the-registry"
