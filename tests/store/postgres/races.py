"""Pairs of transactions that would lose something if they did not lock, or would fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg

from ociserver import Descriptor
from ociserver._core import digest_of, read_manifest
from ociserver.store import collecting, manifests, writes
from ociserver.store.postgres import PostgreSQL
from ociserver.store.writes import Stored
from tests.store.postgres.interleaving import Make, Outcome

IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
NOW: Final = 1_000_000
OLD: Final = 10
BEFORE: Final = NOW - 1_000
LAYER: Final = b"layer"


def descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def image(*layers: bytes, name: str = "") -> bytes:
    config = descriptor("application/vnd.oci.image.config.v1+json", LAYER)
    named = [descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": named, "annotations": {"name": name}}
    ).encode()


def index(*children: tuple[str, bytes]) -> bytes:
    named = [descriptor(kind, child) for kind, child in children]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()


def blob(repository: str, content: bytes = LAYER, now: int = NOW) -> Make:
    digest, size = digest_of(content), len(content)
    return partial(
        writes.finish_blob,
        repository,
        digest,
        size,
        upload=None,
        stored=Stored(content=content),
        checked=None,
        is_recorded=False,
        now=now,
    )


def manifest(
    content: bytes,
    *tags: str,
    kind: str = IMAGE,
    now: int = NOW,
    immutable: bool = False,
    create_only: Sequence[str] = (),
) -> Make:
    return partial(
        manifests.push_manifest,
        "r",
        Descriptor(kind, digest_of(content), len(content)),
        content,
        read_manifest(content, kind),
        tags,
        create_only,
        immutable_tags=immutable,
        lax=False,
        now=now,
    )


class Registry:
    """The database of a race: fills it, and looks into it."""

    def __init__(self, database: PostgreSQL, connection: asyncpg.Connection) -> None:
        self._database = database
        self._connection = connection

    async def write(self, *makes: Make) -> None:
        for make in makes:
            await self._database.write(make)

    async def run(self, statement: str, *parameters: Any) -> None:
        await self._connection.execute(statement, *parameters)

    async def one(self, statement: str, *parameters: Any) -> Any:
        return await self._connection.fetchval(statement, *parameters)

    async def manifest_id(self, content: bytes) -> int:
        found: int = await self.one("SELECT id FROM manifests WHERE digest = $1", digest_of(content))
        return found


@dataclass(frozen=True, slots=True)
class Race:
    """Two transactions, and what must be true after them, in whatever order they ran.

    Args:
        name: what happens.
        prepare: fills the registry, and makes both.
        holds: whether what was acknowledged is there.
        locks: whether it is locks that make it so, and not ON CONFLICT or another try.
    """

    name: str
    prepare: Callable[[Registry], Coroutine[Any, Any, tuple[Make, Make]]]
    holds: Callable[[Registry, Outcome], Coroutine[Any, Any, bool]]
    locks: bool = True


async def _tag_and_collect(registry: Registry) -> tuple[Make, Make]:
    content = image()
    await registry.write(blob("r"), manifest(content, now=OLD))
    drop = partial(collecting.drop_manifest, await registry.manifest_id(content), BEFORE)
    return manifest(content, "v1"), drop


async def _tag_exists(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT count(*) FROM tags WHERE name = 'v1'") == 1)


async def _push_and_unlink(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r", now=OLD))
    repository = await registry.one("SELECT repository_id FROM links")
    copy = await registry.one("SELECT copy_id FROM links")
    return manifest(image()), partial(collecting.unlink_unreferenced, repository, copy, BEFORE, NOW)


async def _image_is_whole(registry: Registry, outcome: Outcome) -> bool:
    is_refused = isinstance(outcome.first, Exception) or isinstance(outcome.second, Exception)
    return is_refused or bool(await registry.one("SELECT count(*) FROM links") == 1)


async def _unlink_both(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("a"), blob("b"))
    delete = partial(writes.delete_blob, digest=digest_of(LAYER), immutable_tags=False, now=NOW)
    return partial(delete, "a"), partial(delete, "b")


async def _copy_is_idle(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT idle_since FROM copies") == NOW)


async def _two_fixed(registry: Registry, **how: Any) -> tuple[Make, Make]:
    await registry.write(blob("r"))
    return manifest(image(name="1"), "v1", **how), manifest(image(name="2"), "v1", **how)


async def _one_is_denied(registry: Registry, outcome: Outcome) -> bool:
    results = [outcome.first, outcome.second]
    denied = [number for number, result in enumerate(results, 1) if getattr(result, "code", None) == "DENIED"]
    content = await registry.one("SELECT m.content FROM tags t JOIN manifests m ON m.id = t.manifest_id")
    name = json.loads(content)["annotations"]["name"]
    return len(denied) == 1 and name != str(denied[0])


async def _push_and_drop(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("a", now=OLD))
    copy = await registry.one("SELECT id FROM copies")
    await registry.run("DELETE FROM links")
    await registry.run("UPDATE copies SET idle_since = $1", OLD)
    return blob("b"), partial(collecting.drop_copy, copy, BEFORE, is_recorded=False, now=NOW)


async def _mount_and_unlink(registry: Registry, prepared: Sequence[Make] = ()) -> tuple[Make, Make]:
    await registry.write(*prepared, blob("a", now=OLD))
    repository, copy = await registry.one("SELECT id FROM repositories WHERE name = 'a'"), await _copy_of(registry)
    mount = partial(writes.mount, "a", "b", digest_of(LAYER), NOW)
    return mount, partial(collecting.unlink_unreferenced, repository, copy, BEFORE, NOW)


async def _mount_and_empty(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("a"), blob("b", b"more"))
    mount = partial(writes.mount, "a", "b", digest_of(LAYER), NOW)
    return mount, partial(writes.delete_blob, "b", digest_of(b"more"), immutable_tags=False, now=NOW)


async def _copy_of(registry: Registry) -> int:
    return int(await registry.one("SELECT id FROM copies WHERE digest = $1", digest_of(LAYER)))


async def _mounted_or_unknown(registry: Registry, outcome: Outcome) -> bool:
    results = outcome.first, outcome.second
    copy = await _copy_of(registry)
    links = await registry.one(
        "SELECT count(*) FROM links l JOIN repositories r ON r.id = l.repository_id WHERE name = 'b' AND copy_id = $1",
        copy,
    )
    idle = await registry.one("SELECT idle_since FROM copies WHERE id = $1", copy)
    if any(getattr(result, "code", None) == "BLOB_UNKNOWN" for result in results):
        return bool(links == 0 and idle is not None)
    return bool(links == 1 and idle is None)


async def _b_is_listed(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT listed FROM repositories WHERE name = 'b'") == 1)


async def _linked_in_b(registry: Registry, outcome: Outcome) -> bool:
    return bool(
        await registry.one(
            "SELECT count(*) FROM links l JOIN copies c ON c.id = l.copy_id JOIN repositories r"
            " ON r.id = l.repository_id WHERE r.name = 'b' AND c.idle_since IS NULL"
        )
        == 1
    )


async def _two_uploads(registry: Registry) -> tuple[Make, Make]:
    start = partial(writes.start_upload, "new", algorithm="sha256", now=NOW)
    return partial(start, "1"), partial(start, "2")


async def _both_uploads(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT count(*) FROM uploads") == 2)


async def _one_manifest_twice(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r"))
    return manifest(image(), "one"), manifest(image(), "two")


async def _both_tags(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT count(*) FROM tags") == 2)


async def _index_and_collect(registry: Registry) -> tuple[Make, Make]:
    child = image()
    await registry.write(blob("r"), manifest(child, now=OLD))
    drop = partial(collecting.drop_manifest, await registry.manifest_id(child), BEFORE)
    return manifest(index((IMAGE, child)), kind=INDEX), drop


async def _index_is_whole(registry: Registry, outcome: Outcome) -> bool:
    count = await registry.one("SELECT count(*) FROM manifests")
    is_refused = isinstance(outcome.first, Exception) or isinstance(outcome.second, Exception)
    return bool(count == (0 if is_refused else 2))


async def _push_and_delete_repository(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r"), manifest(image(), "v1"))
    return blob("r", b"more"), partial(writes.delete_repository, "r", immutable_tags=False, now=NOW)


async def _all_or_one(registry: Registry, outcome: Outcome) -> bool:
    links = await registry.one("SELECT count(*) FROM links")
    repositories = await registry.one("SELECT count(*) FROM repositories")
    # Deleted last: nothing is left. Pushed last: the new blob alone.
    return (links, repositories) in ((0, 0), (1, 1))


async def _push_and_empty(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r"))
    return blob("r", b"more"), partial(writes.delete_blob, "r", digest_of(LAYER), immutable_tags=False, now=NOW)


async def _is_listed(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT listed FROM repositories") == 1)


async def _delete_both(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r"), blob("r", b"more"))
    delete = partial(writes.delete_blob, "r", immutable_tags=False, now=NOW)
    return partial(delete, digest_of(LAYER)), partial(delete, digest_of(b"more"))


async def _is_unlisted(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT listed FROM repositories") == 0)


async def _tag_and_delete_blob(registry: Registry) -> tuple[Make, Make]:
    await registry.write(blob("r"))
    delete = partial(writes.delete_blob, "r", digest_of(LAYER), immutable_tags=True, now=NOW)
    return manifest(image(), "v1", immutable=True), delete


async def _tagged_is_whole(registry: Registry, outcome: Outcome) -> bool:
    links = await registry.one("SELECT count(*) FROM links")
    return bool(links == await registry.one("SELECT count(*) FROM tags"))


async def _move_to_and_fro(registry: Registry) -> tuple[Make, Make]:
    one, two = image(name="1"), image(name="2")
    await registry.write(blob("r"), manifest(one, "v1"), manifest(two, "v2"))
    return manifest(one, "v2"), manifest(two, "v1")


async def _without_deadlock(registry: Registry, outcome: Outcome) -> bool:
    return bool(await registry.one("SELECT count(*) FROM tags") == 2) and outcome.runs == 2


RACES: Final = (
    Race("a manifest gets a tag while collection drops it", _tag_and_collect, _tag_exists, locks=False),
    Race("an image is pushed while collection unlinks its blob", _push_and_unlink, _image_is_whole),
    Race("the last two links of a blob are removed", _unlink_both, _copy_is_idle),
    Race("an immutable tag is set twice", partial(_two_fixed, immutable=True), _one_is_denied, locks=False),
    Race("a tag is created twice", partial(_two_fixed, create_only=["v1"]), _one_is_denied, locks=False),
    Race("a blob is pushed while collection drops its copy", _push_and_drop, _linked_in_b, locks=False),
    Race("a blob is mounted while its source is unlinked", _mount_and_unlink, _mounted_or_unknown),
    Race(
        "a blob is mounted into a repository that exists while its source is unlinked",
        partial(_mount_and_unlink, prepared=[blob("b", b"more")]),
        _mounted_or_unknown,
    ),
    Race("a blob is mounted while the target loses its last blob", _mount_and_empty, _b_is_listed),
    Race("two uploads start in a new repository", _two_uploads, _both_uploads, locks=False),
    Race("one manifest is pushed twice", _one_manifest_twice, _both_tags, locks=False),
    Race("an index is pushed while collection drops its image", _index_and_collect, _index_is_whole),
    Race("a blob is pushed while its repository is deleted", _push_and_delete_repository, _all_or_one, locks=False),
    Race("a blob is pushed while the last other one is deleted", _push_and_empty, _is_listed),
    Race("the last two blobs are deleted", _delete_both, _is_unlisted),
    Race("a blob is deleted while an immutable tag gets it", _tag_and_delete_blob, _tagged_is_whole),
    Race("two tags are swapped", _move_to_and_fro, _without_deadlock),
)
