"""What a server is killed in the middle of."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ociserver.compose.cache.index import Index
from ociserver.compose.cache.queries import Content, add
from ociserver.store import Store
from tests.store.crash.registry import IMAGE, Registry, digest_of
from tests.store.crash.server import Victim
from tests.support.aging import age_files

SMALL = 1_000
PAGES = 12_000
LARGE = 1_200_000
"""More than the handler hands over at once, so that there are two pieces of it."""

CHUNK = 2_000_000
"""So much that some of it is mostly not hashed when it is acknowledged."""


@dataclass(frozen=True, slots=True)
class Round:
    """One time that a scenario is played: everything in it is of its own.

    Args:
        victim: the server.
        registry: a client of it.
        repository: a new one.
        seed: of the contents.
        again: whether this is the client's next try after the server has died.
    """

    victim: Victim
    registry: Registry
    repository: str
    seed: int
    again: bool = False

    def content(self, name: str, size: int = SMALL) -> bytes:
        return random.Random(f"{self.repository} {self.seed} {name}").randbytes(size)

    def path(self, content: bytes, kind: str = "blobs") -> str:
        return f"/v2/{self.repository}/{kind}/{digest_of(content)}"

    def image(self, *layers: bytes) -> bytes:
        """A manifest of a config that is `{}` and these layers."""
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "config": _descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
                "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer) for layer in layers],
                "annotations": {"round": f"{self.repository} {self.seed}"},
            }
        ).encode()

    def push_image(self, *tags: str, layer: bytes) -> bytes:
        """Push one with its blobs."""
        self.registry.post(self.repository, b"{}")
        self.registry.post(self.repository, layer)
        manifest = self.image(layer)
        self.registry.manifest(self.repository, manifest, *tags)
        return manifest

    def database(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """A statement that is run past the server."""
        with closing(sqlite3.connect(self.victim.data / "registry.db", timeout=30, isolation_level=None)) as database:
            return database.execute(statement, parameters).fetchall()

    def file(self, content: bytes) -> Path:
        ((key,),) = self.database("SELECT key FROM copies WHERE digest = ?", digest_of(content))
        return self.victim.data / "blobs" / str(key)[:2] / str(key)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done before, undisturbed, and what the server is killed in.

    Args:
        name: also of its repository.
        act: the client's requests; played again after the restart, with `again` set.
        prepare: what they need.
        is_damaged: something is broken by the preparation, and whole only when it is done.
    """

    name: str
    act: Callable[[Round], None]
    prepare: Callable[[Round], None] = lambda _: None
    is_damaged: bool = False


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


# Pushes


def post_small(play: Round) -> None:
    play.registry.post(play.repository, play.content("blob"))


def post_large(play: Round) -> None:
    play.registry.post(play.repository, play.content("blob", LARGE))


def put_small(play: Round) -> None:
    play.registry.put(play.repository, play.content("blob"))


def put_large(play: Round) -> None:
    play.registry.put(play.repository, play.content("blob", LARGE))


def in_chunks(play: Round) -> None:
    _in_chunks(play, 3 * CHUNK, CHUNK, 2 * CHUNK)


def in_growing_chunks(play: Round) -> None:
    """Few bytes first, which the database has until there are so many that they go to a file."""
    _in_chunks(play, CHUNK, 100, 200, CHUNK // 2)


def _in_chunks(play: Round, size: int, *stops: int) -> None:
    """After a restart the client asks how far it is, and goes on from there: no less than it was told."""
    registry, content = play.registry, play.content("blob", size)
    location = next(iter(registry.uploads), None) if play.again else None
    told = registry.uploads[location] if location else 0
    offset = registry.progress(location) if location else None
    if location is None or offset is None:
        location, offset = registry.start(play.repository), 0
    else:
        assert offset >= told
    for stop in stops:
        if offset < stop:
            registry.patch(location, content[offset:stop])
            offset = stop
    registry.finish(play.repository, location, content, content[offset:])


def in_small_chunks(play: Round) -> None:
    """Of sizes that are kept in memory while they come."""
    registry, content = play.registry, play.content("blob", 300)
    location = registry.start(play.repository)
    registry.patch(location, content[:100])
    registry.patch(location, content[100:])
    registry.finish(play.repository, location, content)


def push_first(play: Round) -> None:
    play.registry.post(play.repository, play.content("blob", LARGE))


def spoil(play: Round) -> None:
    """Cut the file of a blob, which is then missing."""
    push_first(play)
    with play.file(play.content("blob", LARGE)).open("r+b") as file:
        file.truncate(10)
    play.registry.ledger.begin(play.path(play.content("blob", LARGE)))


def mount(play: Round) -> None:
    play.registry.mount(play.repository, f"{play.repository}/mounted", play.content("blob", LARGE))


def push_image(play: Round) -> None:
    play.push_image("latest", "v1", "v1.2", layer=play.content("layer"))


def move_tags(play: Round) -> None:
    """All of them or none: a tag that stays behind is what it was."""
    layer = play.content("another layer")
    play.registry.post(play.repository, layer)
    play.registry.manifest(play.repository, play.image(layer), "latest", "v1", "v1.2")


def ask(play: Round) -> None:
    """After a long time, so that asking is a write."""
    for table in ("links", "manifests"):
        play.database(f"UPDATE {table} SET renewed = renewed - 7200")  # noqa: S608
    play.registry.head(play.path(b"{}"))
    play.registry.head(play.path(play.image(play.content("layer")), "manifests"))


# Deletions


def delete_blob(play: Round) -> None:
    play.registry.delete(play.path(play.content("blob", LARGE)), again=play.again)


def delete_tag(play: Round) -> None:
    play.registry.delete(f"/v2/{play.repository}/manifests/v1", again=play.again)


def delete_manifest(play: Round) -> None:
    manifest = play.image(play.content("layer"))
    tags = [f"/v2/{play.repository}/manifests/{tag}" for tag in ("latest", "v1", "v1.2")]
    play.registry.delete(play.path(manifest, "manifests"), *tags, again=play.again)


def start_upload(play: Round) -> None:
    play.registry.patch(play.registry.start(play.repository), play.content("blob", CHUNK))


def cancel_upload(play: Round) -> None:
    for location in list(play.registry.uploads):
        play.registry.cancel(location, again=play.again)


def delete_repository(play: Round) -> None:
    """By the command beside the server."""
    layer = play.content("layer")
    paths = [f"/v2/{play.repository}/manifests/{tag}" for tag in ("latest", "v1", "v1.2")]
    paths += [play.path(b"{}"), play.path(layer), play.path(play.image(layer), "manifests")]
    play.registry.ledger.begin(*paths)
    exists = play.database("SELECT 1 FROM repositories WHERE name = ?", play.repository)
    assert exists or play.again
    if exists:
        play.victim.run("delete", play.repository, "--yes")
    play.registry.ledger.deleted(*paths)


# Collection and repair, in processes of their own


def leave_garbage(play: Round) -> None:
    """Something for each of the reasons to collect."""
    registry = play.registry
    play.push_image("latest", layer=play.content("layer", LARGE))
    unreferenced = play.content("unreferenced", LARGE)
    registry.post(play.repository, unreferenced)
    registry.post(play.repository, play.content("small"))
    # Of several pages, which the database then gives back.
    registry.post(play.repository, play.content("pages", PAGES))
    untagged = play.content("untagged")
    registry.post(play.repository, untagged)
    manifest = play.image(untagged)
    registry.manifest(play.repository, manifest)
    start_upload(play)
    orphan = random.Random(play.seed).randbytes(16).hex()
    (play.victim.data / "blobs" / orphan[:2] / orphan).write_bytes(b"nobody's")
    for table, column in (("links", "renewed"), ("manifests", "renewed"), ("uploads", "touched")):
        play.database(f"UPDATE {table} SET {column} = {column} - 100000")  # noqa: S608
    age_files(play.victim.data, 100_000)
    # All of these may go from now on; the image that has a tag may not.
    registry.uploads.clear()
    for content in (unreferenced, play.content("small"), play.content("pages", PAGES), untagged):
        registry.ledger.begin(play.path(content))
    registry.ledger.begin(play.path(manifest, "manifests"))


def collect(play: Round) -> None:
    play.victim.run("collect", "--grace", "0s", "--delete-untagged-after", "1h")
    for name, size in (("unreferenced", LARGE), ("small", SMALL), ("pages", PAGES), ("untagged", SMALL)):
        play.registry.ledger.deleted(play.path(play.content(name, size)))


def rot(play: Round) -> None:
    """A flipped byte, another manifest in the place of one, references that are lost, a tag of a manifest that is gone,
    and a repository that the catalog lacks."""
    blob, layer = play.content("blob", LARGE), play.content("layer")
    play.registry.post(play.repository, blob)
    manifest = play.push_image("latest", layer=layer)
    other = play.image(layer, layer)
    play.registry.manifest(play.repository, other)
    path = play.file(blob)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    play.database("UPDATE manifests SET content = zeroblob(size) WHERE digest = ?", digest_of(manifest))
    play.database("DELETE FROM refs WHERE manifest_id = (SELECT id FROM manifests WHERE digest = ?)", digest_of(other))
    play.database(
        "INSERT INTO tags (repository_id, name, manifest_id)"
        " SELECT repository_id, 'lost', 0 FROM manifests WHERE digest = ?",
        digest_of(other),
    )
    play.database("UPDATE repositories SET listed = 0 WHERE name = ?", play.repository)
    play.registry.ledger.begin(
        play.path(blob), play.path(manifest, "manifests"), f"/v2/{play.repository}/manifests/latest"
    )


def check_and_push_again(play: Round) -> None:
    play.victim.run("check", "--repair", "--content")
    play.registry.post(play.repository, play.content("blob", LARGE))
    play.push_image("latest", layer=play.content("layer"))


def leave_to_cache(play: Round) -> None:
    """A deleted blob that a cache over this folder still counts: whatever removes contents frees its bytes at once."""
    content = play.content("blob", LARGE)
    push_first(play)
    delete_blob(play)

    async def count() -> None:
        async with Store(play.victim.data) as store:
            index = Index(store)
            await index.claim(play.repository, "upstream")
            counted = Content("blob", digest_of(content))
            await store.database.write(partial(add, counted, [play.repository], len(content), 1.0, 1))

    asyncio.run(count())


def collect_for_cache(play: Round) -> None:
    play.victim.run("collect")
    assert not play.database("SELECT 1 FROM copies WHERE digest = ?", digest_of(play.content("blob", LARGE)))


SCENARIOS = (
    Scenario("post-small", post_small),
    Scenario("post-large", post_large),
    Scenario("put-small", put_small),
    Scenario("put-large", put_large),
    Scenario("chunks", in_chunks),
    Scenario("small-chunks", in_small_chunks),
    Scenario("growing-chunks", in_growing_chunks),
    Scenario("push-again", post_large, push_first),
    Scenario("heal", post_large, spoil, is_damaged=True),
    Scenario("mount", mount, push_first),
    Scenario("image", push_image),
    Scenario("move-tags", move_tags, push_image),
    Scenario("head", ask, push_image),
    Scenario("delete-blob", delete_blob, push_first),
    Scenario("delete-tag", delete_tag, push_image),
    Scenario("delete-manifest", delete_manifest, push_image),
    Scenario("cancel-upload", cancel_upload, start_upload),
    Scenario("delete-repository", delete_repository, push_image),
    Scenario("collect", collect, leave_garbage),
    Scenario("repair", check_and_push_again, rot, is_damaged=True),
    Scenario("cache", collect_for_cache, leave_to_cache),
)
