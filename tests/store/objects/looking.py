"""What the metadata and the bucket have, compared."""

from __future__ import annotations

from typing import Any, Final

from ociserver.store import Store
from ociserver.store.transaction import Row, Transaction
from tests.contract.contents import REPOSITORY, digest_of
from tests.support.bucket import Versity

PREFIX: Final = "team"
PART: Final = 5 * 1024 * 1024
"""The smallest part that S3 takes."""

MARKER: Final = "ociserver"


def stored(bucket: Versity) -> dict[str, int]:
    """The objects of the registry by their keys."""
    objects = {key.removeprefix(f"{PREFIX}/"): size for key, size in bucket.objects().items()}
    objects.pop(MARKER, None)
    return objects


async def rows(store: Store, statement: str, *parameters: Any) -> list[Row]:
    def select() -> Transaction[list[Row]]:
        return (yield statement, parameters)

    return await store.database.read(select())


async def change(store: Store, statement: str, *parameters: Any) -> None:
    def update() -> Transaction[None]:
        yield statement, parameters

    await store.database.write(update)


async def copies(store: Store) -> dict[str, int]:
    """The sizes of all copies in objects, by their keys."""
    return dict(await rows(store, "SELECT key, size FROM copies WHERE key IS NOT NULL"))


async def assert_known(store: Store, bucket: Versity) -> None:
    """Each object is linked or recorded for deletion, each linked one is there, and so is each multipart upload."""
    there, named = stored(bucket), await copies(store)
    recorded: dict[str, str | None] = dict(await rows(store, "SELECT key, multipart FROM objects"))
    assert {key: there.get(key) for key in named} == named
    assert set(there) <= set(named) | set(recorded)
    assert not set(named) & set(recorded)
    for upload in bucket.uploads():
        if upload.parts:
            assert recorded[upload.key.removeprefix(f"{PREFIX}/")] == upload.id


async def start(store: Store, *pieces: bytes) -> str:
    """Begin an upload with one request, as by PATCH. Returns its id."""
    upload = await store.push_blob_chunked(REPOSITORY)
    for piece in pieces:
        await upload.write(piece)
    await upload.aclose()
    return upload.id


async def go_on(store: Store, upload_id: str, offset: int, *pieces: bytes) -> int:
    """Continue an upload with one request. Returns its size."""
    upload = await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)
    try:
        for piece in pieces:
            await upload.write(piece)
    finally:
        await upload.aclose()
    return upload.size


async def finish(store: Store, upload_id: str, content: bytes, *pieces: bytes, algorithm: str = "sha256") -> str:
    """End an upload with one request, whose last bytes are `pieces`. Returns the digest of the content."""
    digest = digest_of(content, algorithm)
    offset = len(content) - sum(map(len, pieces))
    upload = await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset, digest=digest)
    try:
        for piece in pieces:
            await upload.write(piece)
        await upload.commit(digest)
    finally:
        await upload.aclose()
    return digest
