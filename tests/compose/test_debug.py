"""Debug: each call is one record, and its behaviour does not change (Go: `ocidebug`)."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Backend, ByteRange, Handler, Memory
from ociserver.client import Client
from ociserver.compose import Debug
from ociserver.serve.log_format import JsonFormat
from tests.client.scripted import Reply, scripted
from tests.contract.contents import REPOSITORY, collect, digest_of, push_blob, push_image, push_manifest, tags_of
from tests.contract.errors import refused
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

TEXT = b"0123456789"


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The records that are logged during the test."""
    logger, handler = logging.getLogger("ociserver.debug"), _Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.records
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def fields(records: list[logging.LogRecord]) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in records]


CALLS: dict[str, Callable[[Backend, str], Awaitable[Any]]] = {
    "get_blob": lambda backend, digest: backend.get_blob(REPOSITORY, digest_of(TEXT)),
    "get_manifest": lambda backend, digest: backend.get_manifest(REPOSITORY, digest),
    "get_tag": lambda backend, digest: backend.get_tag(REPOSITORY, "latest"),
    "resolve_blob": lambda backend, digest: backend.resolve_blob(REPOSITORY, digest_of(TEXT)),
    "resolve_manifest": lambda backend, digest: backend.resolve_manifest(REPOSITORY, digest),
    "resolve_tag": lambda backend, digest: backend.resolve_tag(REPOSITORY, "latest"),
    "push_blob": lambda backend, digest: push_blob(backend, b"new"),
    "push_blob_chunked": lambda backend, digest: backend.push_blob_chunked(REPOSITORY),
    "push_manifest": lambda backend, digest: push_manifest(backend, b"x", "text/plain", "new"),
    "mount_blob": lambda backend, digest: backend.mount_blob(REPOSITORY, "other", digest_of(TEXT)),
    "delete_blob": lambda backend, digest: backend.delete_blob(REPOSITORY, digest_of(TEXT)),
    "delete_manifest": lambda backend, digest: backend.delete_manifest(REPOSITORY, digest),
    "delete_tag": lambda backend, digest: backend.delete_tag(REPOSITORY, "latest"),
    "repositories": lambda backend, digest: collect(backend.repositories()),
    "tags": lambda backend, digest: tags_of(backend),
    "referrers": lambda backend, digest: collect(backend.referrers(REPOSITORY, digest)),
}


@pytest.mark.parametrize("method", CALLS)
async def test_each_call_is_one_record(method: str, records: list[logging.LogRecord]) -> None:
    inner = Memory()
    content = await push_image(inner, "latest")
    await push_blob(inner, TEXT)
    await CALLS[method](Debug(inner, "front"), digest_of(content))
    (record,) = records
    (said,) = fields(records)
    assert (said["backend"], said["method"], record.levelname) == ("front", method, "INFO")
    assert record.getMessage().startswith(f"front: {method}(")
    assert "error" not in said["result"]
    assert said["duration_s"] >= 0
    assert said["arguments"].get("repository", "other") in (REPOSITORY, "other")


@pytest.mark.parametrize("method", CALLS)
async def test_an_error_is_logged_and_raised_unchanged(method: str, records: list[logging.LogRecord]) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    async def fail_in_a_list(*_: Any, **__: Any) -> AsyncIterator[str]:
        for _ in ():
            yield ""
        raise error

    error = RuntimeError("the disk is on fire")
    inner = Memory()
    setattr(inner, method, fail_in_a_list if method in ("repositories", "tags", "referrers") else fail)
    with pytest.raises(RuntimeError) as caught:
        await CALLS[method](Debug(inner), digest_of(b"?"))
    assert caught.value is error
    (said,) = fields(records)
    assert said["result"]["error"] == "RuntimeError"
    assert "the disk is on fire" in records[0].getMessage()


async def test_an_error_with_a_code(records: list[logging.LogRecord]) -> None:
    with refused("NAME_UNKNOWN"):
        await Debug(Memory()).get_tag("no/such", "latest")
    assert fields(records)[0]["result"]["error"] == "NAME_UNKNOWN"


async def test_reading_is_one_record(records: list[logging.LogRecord]) -> None:
    inner = Memory()
    digest = await push_blob(inner, TEXT)
    async with aclosing(await Debug(inner).get_blob(REPOSITORY, digest, ByteRange(2, 4))) as reader:
        assert b"".join([piece async for piece in reader]) == b"234"
    opened, read = fields(records)
    assert opened["result"] == {"size": 10, "start": 2, "stop": 5}
    assert (read["method"], read["result"]) == ("read", {"pieces": 1, "bytes": 3})


@pytest.mark.parametrize(
    "location", ["/v2/a/blobs/uploads/one?_state=secret", "/elsewhere/one?_state=secret", "http://127.0.0.1:1/?secret"]
)
async def test_the_signature_in_an_uploads_id_is_not_logged(location: str, records: list[logging.LogRecord]) -> None:
    """The id contains the upload's URL, which may be signed, and our own signature of it."""
    async with scripted() as registry, Client(registry.url) as client:
        registry.will(Reply(202, {"Location": location}))
        backend = Debug(client)
        upload_id = (await backend.push_blob_chunked("a")).id
        await backend.locate_upload("a", upload_id)
        await backend.push_blob_chunked_resume("a", upload_id, offset=0)
    said = json.dumps(fields(records)) + "".join(record.getMessage() for record in records)
    assert "secret" not in said
    signature = upload_id.partition(">")[0].removeprefix("<")
    assert len(signature) < 64 or signature not in said
    assert [each["method"] for each in fields(records)] == [
        "push_blob_chunked",
        "locate_upload",
        "push_blob_chunked_resume",
    ]


async def test_records_of_an_upload_have_the_same_writer(records: list[logging.LogRecord]) -> None:
    backend = Debug(Memory())
    writer = await backend.push_blob_chunked(REPOSITORY)
    for _ in range(100):
        await writer.write(b"x")
    await writer.aclose()
    again = await backend.push_blob_chunked_resume(REPOSITORY, writer.id, offset=7)
    with refused("RANGE_INVALID"):
        await again.write(b"y")
    last = await backend.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)
    await last.commit(digest_of(b"x" * 100))
    said = fields(records)
    assert [each["method"] for each in said] == [
        "push_blob_chunked",
        "aclose",
        "push_blob_chunked_resume",
        "write",
        "push_blob_chunked_resume",
        "commit",
    ]
    assert said[1]["arguments"] == {"writer": 1, "pieces": 100, "bytes": 100}
    assert said[1]["result"] == {"received": 100}
    assert said[3]["result"]["error"] == "RANGE_INVALID"
    assert said[5]["result"]["size"] == 100


async def test_a_list_that_is_closed_early_is_not_an_error(records: list[logging.LogRecord]) -> None:
    inner = Memory()
    await push_manifest(inner, b"x", "text/plain", "one", "two", "three")
    async with aclosing(Debug(inner).tags(REPOSITORY)) as tags:  # type: ignore[type-var]
        async for _ in tags:
            break
    assert fields(records)[0]["result"] == {"items": 1}


async def test_contents_are_not_logged(records: list[logging.LogRecord]) -> None:
    backend = Debug(Memory())
    await push_blob(backend, b"secret bytes")
    await push_manifest(backend, b"secret text", "text/plain", "latest")
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"secret text"
    assert "secret" not in "".join(record.getMessage() + json.dumps(vars(record)["fields"]) for record in records)


async def test_the_request_is_named(records: list[logging.LogRecord]) -> None:
    application = Handler(Debug(Memory()))
    await request(application, "GET", f"/v2/{REPOSITORY}/manifests/latest", headers={"x-request-id": "mine-7"})
    (said,) = [each for each in fields(records) if each["method"] == "get_tag"]
    assert said["request_id"] == "mine-7"
    line = json.loads(JsonFormat().record(records[0]))
    assert (line["request_id"], line["method"], line["arguments"]["tag"]) == ("mine-7", "get_tag", "latest")
