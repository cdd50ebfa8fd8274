"""The guard alone, without the check of the request before it: each call of a backend needs its right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor, Memory, OCIError
from ociserver.auth import Auth, Identity, Rule
from ociserver.auth.guard import MAX_SOURCES
from ociserver.auth.identity import ANONYMOUS
from ociserver.context import RequestContext, request_context
from ociserver.interface import Url
from tests.auth.registry import KEYS
from tests.contract.contents import BINARY, digest_of, pieces_of

pytestmark = pytest.mark.anyio

HERE, THERE = "team/app", "other/app"
BLOB = digest_of(b"blob")
TEXT = digest_of(b"text")

READER, CREATOR, PUSHER, DELETER, STRANGER = (
    Identity(name) for name in ("reader", "creator", "pusher", "deleter", "x")
)
RULES = [
    Rule(users=("reader", "creator", "pusher"), repositories=("team/*",), allow=("pull",)),
    Rule(users=("creator",), repositories=("team/*",), allow=("create",)),
    Rule(users=("pusher",), repositories=("team/*",), allow=("push",)),
    Rule(users=("deleter",), repositories=("team/*",), allow=("delete",)),
    Rule(users=("reader",), repositories=("*-public",), allow=("pull",)),
]

Call = Callable[[Backend, str], Awaitable[Any]]


async def listed(backend: Backend, repository: str) -> list[str]:
    return [tag async for tag in backend.tags(repository)]


async def referring(backend: Backend, repository: str) -> list[Descriptor]:
    return [each async for each in backend.referrers(repository, TEXT)]


READS: dict[str, Call] = {
    "get_blob": lambda backend, name: backend.get_blob(name, BLOB),
    "resolve_blob": lambda backend, name: backend.resolve_blob(name, BLOB),
    "locate_blob": lambda backend, name: backend.locate_blob(name, BLOB),
    "get_manifest": lambda backend, name: backend.get_manifest(name, TEXT),
    "resolve_manifest": lambda backend, name: backend.resolve_manifest(name, TEXT),
    "get_tag": lambda backend, name: backend.get_tag(name, "latest"),
    "resolve_tag": lambda backend, name: backend.resolve_tag(name, "latest"),
    "tags": listed,
    "referrers": referring,
}
WRITES: dict[str, Call] = {
    "push_blob": lambda backend, name: backend.push_blob(
        name, Descriptor(BINARY, digest_of(b"x"), UNKNOWN_SIZE), pieces_of(b"x")
    ),
    "push_blob_chunked": lambda backend, name: backend.push_blob_chunked(name),
    "push_manifest": lambda backend, name: backend.push_manifest(name, b"other", "text/plain", tags=["new"]),
    "push_manifest_by_digest": lambda backend, name: backend.push_manifest(name, b"other", "text/plain"),
}
DELETIONS: dict[str, Call] = {
    "delete_blob": lambda backend, name: backend.delete_blob(name, BLOB),
    "delete_manifest": lambda backend, name: backend.delete_manifest(name, TEXT),
    "delete_tag": lambda backend, name: backend.delete_tag(name, "latest"),
}


class Located(Memory):
    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        return Url("https://elsewhere.example/blob")

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        return Url("https://elsewhere.example/upload")


@pytest.fixture
async def inner() -> Backend:
    backend = Located(lax_child_references=True)
    for name in (HERE, THERE):
        await backend.push_blob(name, Descriptor(BINARY, BLOB, 4), pieces_of(b"blob"))
        await backend.push_manifest(name, b"text", "text/plain", tags=["latest"])
    return backend


@pytest.fixture
def guarded(inner: Backend) -> Backend:
    return Auth(RULES, token_keys=KEYS).guard(inner)


@contextmanager
def asked_by(identity: Any) -> Iterator[None]:
    token = request_context.set(RequestContext("id", auth=identity))
    try:
        yield
    finally:
        request_context.reset(token)


async def assert_denied(call: Call, backend: Backend, name: str) -> None:
    with pytest.raises(OCIError) as refused:
        await call(backend, name)
    assert refused.value.code == "DENIED"


@pytest.mark.parametrize("name", READS)
async def test_reads(guarded: Backend, name: str) -> None:
    for reader in (READER, CREATOR, PUSHER):
        with asked_by(reader):
            await READS[name](guarded, HERE)
            await assert_denied(READS[name], guarded, THERE)
            await assert_denied(READS[name], guarded, "team")
    for other in (DELETER, STRANGER, ANONYMOUS, None, "reader"):
        with asked_by(other):
            await assert_denied(READS[name], guarded, HERE)
    # A call that belongs to no request.
    await assert_denied(READS[name], guarded, HERE)


@pytest.mark.parametrize("name", WRITES)
async def test_writes(guarded: Backend, name: str) -> None:
    for writer in (CREATOR, PUSHER):
        with asked_by(writer):
            await WRITES[name](guarded, HERE)
            await assert_denied(WRITES[name], guarded, THERE)
    for other in (READER, DELETER, STRANGER, ANONYMOUS, None):
        with asked_by(other):
            await assert_denied(WRITES[name], guarded, HERE)
    await assert_denied(WRITES[name], guarded, HERE)


@pytest.mark.parametrize("name", DELETIONS)
async def test_deletions(guarded: Backend, name: str) -> None:
    for other in (READER, CREATOR, PUSHER, STRANGER, ANONYMOUS, None):
        with asked_by(other):
            await assert_denied(DELETIONS[name], guarded, HERE)
    with asked_by(DELETER):
        await assert_denied(DELETIONS[name], guarded, THERE)
        await DELETIONS[name](guarded, HERE)


@pytest.mark.parametrize("tag", ["latest", "v1"])
async def test_create_moves_no_tag_whatever_its_name(guarded: Backend, inner: Backend, tag: str) -> None:
    await inner.push_manifest(HERE, b"text", "text/plain", tags=["v1"])
    with asked_by(CREATOR), pytest.raises(OCIError, match="may only create"):
        await guarded.push_manifest(HERE, b"other", "text/plain", tags=["free", tag])
    assert (await inner.get_tag(HERE, tag)).content == b"text"
    with asked_by(PUSHER):
        await guarded.push_manifest(HERE, b"other", "text/plain", tags=[tag])


async def test_a_token_narrows_each_call(guarded: Backend) -> None:
    narrow = Identity("pusher", grants={HERE: frozenset({"pull"})})
    with asked_by(narrow):
        await guarded.get_tag(HERE, "latest")
        for call in WRITES.values():
            await assert_denied(call, guarded, HERE)


@pytest.mark.parametrize("source", [THERE, None, "team"])
async def test_a_mount_of_what_may_not_be_read(guarded: Backend, source: str | None) -> None:
    with asked_by(PUSHER), pytest.raises(OCIError) as refused:
        await guarded.mount_blob(source, "team/new", BLOB)
    assert refused.value.code in ("UNSUPPORTED", "NAME_UNKNOWN")


async def test_a_mount_without_a_source(guarded: Backend, inner: Backend) -> None:
    def named(*names: str) -> Identity:
        return Identity("pusher", grants={name: frozenset({"pull", "push"}) for name in (*names, "team/new")})

    # The token names another repository with the blob, but no rule allows to pull from there.
    with asked_by(named(THERE)), pytest.raises(OCIError, match="cannot be mounted"):
        await guarded.mount_blob(None, "team/new", BLOB)
    # The first names count: of repositories that do not exist, and of one that exists without the blob.
    await inner.push_blob("team/0", Descriptor(BINARY, TEXT, 4), pieces_of(b"text"))
    others = [f"team/{number}" for number in range(MAX_SOURCES)]
    with asked_by(named(HERE, *others)), pytest.raises(OCIError, match="cannot be mounted"):
        await guarded.mount_blob(None, "team/new", BLOB)
    with asked_by(named(HERE, *others[1:])):
        assert (await guarded.mount_blob(None, "team/new", BLOB)).digest == BLOB
    assert (await inner.resolve_blob("team/new", BLOB)).size == 4


async def test_a_backend_that_mounts_nothing_is_asked_once() -> None:
    class MountsNothing(Memory):
        asked = 0

        async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
            self.asked += 1
            raise OCIError("UNSUPPORTED")

    backend = MountsNothing()
    guarded = Auth(RULES, token_keys=KEYS).guard(backend)
    names = {f"team/{number}": frozenset({"pull"}) for number in range(MAX_SOURCES)}
    with asked_by(Identity("pusher", grants={**names, "team/new": frozenset({"push"})})), pytest.raises(OCIError):
        await guarded.mount_blob(None, "team/new", BLOB)
    assert backend.asked == 1


async def test_a_mount(guarded: Backend) -> None:
    with asked_by(PUSHER):
        assert (await guarded.mount_blob(HERE, "team/new", BLOB)).digest == BLOB
    with asked_by(READER):
        with pytest.raises(OCIError) as refused:
            await guarded.mount_blob(HERE, "team/new", BLOB)
        assert refused.value.code == "DENIED"


async def test_an_upload_of_another_user_or_repository(guarded: Backend) -> None:
    with asked_by(PUSHER):
        upload_id = (await guarded.push_blob_chunked(HERE)).id
        assert (await guarded.push_blob_chunked_resume(HERE, upload_id, offset=None)).id == upload_id
        assert await guarded.locate_upload(HERE, upload_id)
    for user, repository in ((CREATOR, HERE), (PUSHER, "team/new")):
        for call in (guarded.push_blob_chunked_resume, guarded.locate_upload):
            options = {"offset": None} if call == guarded.push_blob_chunked_resume else {}
            with asked_by(user), pytest.raises(OCIError) as refused:
                await call(repository, upload_id, **options)
            assert refused.value.code == "BLOB_UPLOAD_UNKNOWN"


async def test_the_list_of_repositories(guarded: Backend, inner: Backend) -> None:
    for name in ("a-public", "b", "z-public"):
        await inner.push_manifest(name, b"text", "text/plain")
    for user, expected in (
        (READER, ["a-public", HERE, "z-public"]),
        (PUSHER, [HERE]),
        (STRANGER, []),
        (ANONYMOUS, []),
        (None, []),
    ):
        with asked_by(user):
            assert [name async for name in guarded.repositories()] == expected
            assert [name async for name in guarded.repositories(limit=1)] == expected[:1]
            assert [name async for name in guarded.repositories(start_after="team/app")] == [
                name for name in expected if name > "team/app"
            ]


async def test_patterns_of_any_characters(inner: Backend) -> None:
    rules = [Rule(anonymous=True, repositories=("\0*", "team/*"), allow=("pull",))]
    guarded = Auth(rules, token_keys=KEYS).guard(inner)
    with asked_by(ANONYMOUS):
        assert [name async for name in guarded.repositories()] == [HERE]
