"""The media type of fetched contents: from the bytes if they contain one, and always valid in a header."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ociserver import Backend, Descriptor, HTTPError, Manifest, Store
from ociserver.adapt import read_nowait_of
from ociserver.compose import Cache
from ociserver.media_types import fetched_type
from ociserver.store.transaction import Transaction
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read
from tests.support.images import MANIFEST, digest_of

pytestmark = pytest.mark.anyio

INDEX = "application/vnd.oci.image.index.v1+json"
TYPED = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}).encode()
UNTYPED = json.dumps({"schemaVersion": 2}).encode()
PLAIN, OTHER = "application/vnd.example+json", "application/vnd.other+json"
BROKEN = ("a\x01b", "a\nb", "\udcff", "ü", "a" * 256, "a" * 60_000)


class Lying(Upstream):
    """An upstream that gives each content this type."""

    kind = MANIFEST

    def _named(self, descriptor: Descriptor) -> Descriptor:
        return Descriptor(self.kind, descriptor.digest, descriptor.size)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        found = await super().get_manifest(repository, digest)
        return Manifest(self._named(found.descriptor), found.content)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        found = await super().get_tag(repository, tag)
        return Manifest(self._named(found.descriptor), found.content)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return self._named(await super().resolve_tag(repository, tag))

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return self._named(await super().resolve_blob(repository, digest))


@pytest.fixture
async def upstream() -> Lying:
    return Lying()


async def test_the_type_in_the_bytes(local: Backend, upstream: Lying) -> None:
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        for number, kind in enumerate((INDEX, *BROKEN)):
            name, upstream.kind = f"library/{number}", kind
            await upstream.memory.push_manifest(name, TYPED, MANIFEST, tags=["latest"])
            assert (await cache.get_tag(name, "latest")).descriptor.media_type == MANIFEST
            assert (await local.get_manifest(name, digest_of(TYPED))).descriptor.media_type == MANIFEST


async def test_the_type_in_the_header(local: Backend, upstream: Lying) -> None:
    await upstream.memory.push_manifest(REPOSITORY, UNTYPED, PLAIN, tags=["latest"])
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        for kind in (PLAIN, OTHER, PLAIN):
            # The type that upstream sends now counts.
            upstream.kind = kind
            assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.media_type == kind


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_type_that_no_header_can_have_is_refused(local: Backend, upstream: Lying, kind: str) -> None:
    await upstream.memory.push_manifest(REPOSITORY, UNTYPED, MANIFEST, tags=["latest"])
    blob = await push(upstream.memory, REPOSITORY, b"blob")
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        upstream.kind = kind
        for asking in (
            lambda: cache.get_tag(REPOSITORY, "latest"),
            lambda: cache.get_manifest(REPOSITORY, digest_of(UNTYPED)),
            lambda: cache.resolve_blob(REPOSITORY, blob),
        ):
            with pytest.raises(HTTPError, match="media type") as caught:
                await asking()
            assert caught.value.status == 502
        # Nothing was kept.
        upstream.kind = MANIFEST
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.media_type == MANIFEST
        assert await read(cache.get_blob(REPOSITORY, blob)) == b"blob"


def retype(digest: str, kind: str) -> Transaction[None]:
    """Change the media type of a manifest, as an older version might have stored it."""
    yield "UPDATE manifests SET media_type = ? WHERE digest = ?", (kind, digest)


@pytest.mark.parametrize("kind", ["a\x01b", "a" * 300])
@pytest.mark.parametrize("content", [TYPED, UNTYPED], ids=["typed", "untyped"])
async def test_an_invalid_type_of_an_older_version_is_corrected(
    tmp_path: Path, upstream: Lying, content: bytes, kind: str
) -> None:
    digest = digest_of(content)
    await upstream.memory.push_manifest(REPOSITORY, content, MANIFEST, tags=["latest"])
    local = Store(tmp_path / "data", lax_child_references=True)
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        for ask in (cache.get_tag, cache.get_manifest, cache.resolve_tag, cache.resolve_manifest):
            await cache.get_tag(REPOSITORY, "latest")
            await local.database.write(lambda: retype(digest, kind))
            read_nowait = read_nowait_of(cache)
            assert read_nowait
            assert read_nowait("manifest_get", REPOSITORY, digest) is None
            # Without upstream there is nothing to serve.
            upstream.failure = HTTPError(503)
            with pytest.raises(HTTPError):
                await ask(REPOSITORY, "latest" if "tag" in ask.__name__ else digest)
            upstream.failure = None
            found = await ask(REPOSITORY, "latest" if "tag" in ask.__name__ else digest)
            descriptor = found.descriptor if isinstance(found, Manifest) else found
            assert descriptor.media_type == MANIFEST
            assert (await local.get_manifest(REPOSITORY, digest)).descriptor.media_type == MANIFEST


async def test_a_type_that_contradicts_the_bytes_is_corrected_at_the_next_read(tmp_path: Path, upstream: Lying) -> None:
    await upstream.memory.push_manifest(REPOSITORY, TYPED, MANIFEST, tags=["latest"])
    local = Store(tmp_path / "data", lax_child_references=True)
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        await local.database.write(lambda: retype(digest_of(TYPED), INDEX))
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.media_type == MANIFEST


@pytest.mark.parametrize(
    "content, named, found",
    [
        (TYPED, PLAIN, MANIFEST),
        (TYPED, "ü", MANIFEST),
        (UNTYPED, PLAIN, PLAIN),
        (UNTYPED, f"{PLAIN}; charset=utf-8", PLAIN),
        (UNTYPED, "ü", None),
        (b"", PLAIN, PLAIN),
        (b'{"mediaType":"a\\nb"}', PLAIN, None),
        (b'{"mediaType":"\\ud800"}', PLAIN, None),
        (b'{"mediaType":"a\\nb"}', "ü", None),
    ],
)
def test_the_type_of_a_fetched_content(content: bytes, named: str, found: str | None) -> None:
    assert fetched_type(content, named) == found
