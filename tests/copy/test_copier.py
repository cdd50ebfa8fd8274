"""Which contents are copied, which are not, and what happens when a registry fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from ociserver import Backend, BlobReader, ByteRange, Descriptor, HTTPError, Manifest, Memory, OCIError, PushedManifest
from ociserver.compose import Sub
from ociserver.compose.wrapper import ReaderOf, Wrapper
from ociserver.copy import Copy, CopyError, Ends, Platform, Progress, Settings
from ociserver.iterators import closing
from tests.contract.contents import (
    CONFIG,
    DOCKER_IMAGE,
    DOCKER_LIST,
    IMAGE,
    INDEX,
    LAYER,
    Json,
    collect,
    descriptor,
    digest_of,
    encode,
    image,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from tests.contract.errors import refused
from tests.copy.images import fill

pytestmark = pytest.mark.anyio

FROM, TO = "from/here", "to/there"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def source() -> Memory:
    return Memory(lax_child_references=True)


async def copy(source: Backend, target: Backend, tag: str = "v1", **settings: Any) -> Progress:
    progress = Progress()
    async with Copy(Ends(source, FROM, target, TO), Settings(**settings), progress) as copying:
        await copying.tag(tag, tag)
    return progress


async def manifest_of(backend: Backend, tag: str, repository: str = TO) -> bytes:
    return (await backend.get_tag(repository, tag)).content


async def test_an_index_with_all_its_platforms(source: Memory) -> None:
    images, target = await fill(source, FROM), Memory()
    counted = await copy(source, target)
    # The destination is strict, so it has accepted each manifest only after its contents.
    assert await manifest_of(target, "v1") == images.index
    assert await tags_of(target, TO) == ["v1"]
    for content in (images.amd64, images.arm64):
        assert (await target.get_manifest(TO, digest_of(content))).content == content
    assert await read_blob(target, digest_of(b"shared layer"), repository=TO) == b"shared layer"
    assert await collect(target.referrers(TO, digest_of(images.index))) == []
    # The shared layer and the empty layer were copied once.
    assert (counted.manifests_copied, counted.blobs_copied) == (3, 6)
    assert counted.bytes_sent == counted.bytes_done == counted.bytes_total > 0


async def test_existing_contents_are_not_sent(source: Memory) -> None:
    await fill(source, FROM)
    target = Memory()
    await push_blob(target, b"shared layer", TO)
    counted = await copy(source, target)
    assert (counted.blobs_copied, counted.blobs_existing) == (5, 1)
    assert counted.bytes_done == counted.bytes_total == counted.bytes_sent + len(b"shared layer")
    again = await copy(source, target)
    assert again == Progress(manifests_existing=1)


async def test_one_platform(source: Memory) -> None:
    images, target = await fill(source, FROM), Memory()
    await copy(source, target, platform=Platform("linux", "arm64"))
    assert await manifest_of(target, "v1") == images.arm64
    with pytest.raises(OCIError):
        await target.resolve_manifest(TO, digest_of(images.amd64))


async def test_an_existing_manifest_counts_as_complete_without_recheck(source: Memory) -> None:
    await fill(source, FROM)
    target = Memory(lax_child_references=True)
    await copy(source, target)
    await target.delete_blob(TO, digest_of(b"shared layer"))
    assert (await copy(source, target)).blobs_copied == 0
    assert (await copy(source, target, recheck=True)).blobs_copied == 1
    assert await read_blob(target, digest_of(b"shared layer"), repository=TO) == b"shared layer"


async def test_a_tag_is_moved_only_if_necessary(source: Memory) -> None:
    target = Memory()
    await push_image(source, "v1", config=b"new", repository=FROM)
    await push_image(target, "v1", config=b"old", repository=TO)
    assert (await copy(source, target)).manifests_copied == 1
    assert await manifest_of(target, "v1") == await manifest_of(source, "v1", FROM)
    await push_image(target, "v1", config=b"old", repository=TO)
    assert (await copy(source, target)).manifests_existing == 1
    assert await manifest_of(target, "v1") == await manifest_of(source, "v1", FROM)


async def test_referrers_and_their_referrers(source: Memory) -> None:
    images, target = await fill(source, FROM), Memory()
    await copy(source, target)
    # They were added after the image was copied.
    counted = await copy(source, target, referrers=True)
    assert counted.manifests_copied == 2
    for subject, content in ((images.index, images.sbom), (images.sbom, images.signature)):
        listed = await collect(target.referrers(TO, digest_of(subject)))
        assert [entry.digest for entry in listed] == [digest_of(content)]
        assert (await target.get_manifest(TO, digest_of(content))).content == content


async def test_referrers_of_one_platform(source: Memory) -> None:
    images = await fill(source, FROM)
    signature = image(b"{}", subject=descriptor(IMAGE, images.arm64))
    await push_manifest(source, signature, IMAGE, repository=FROM)
    target = Memory()
    await copy(source, target, referrers=True)
    assert [each.digest for each in await collect(target.referrers(TO, digest_of(images.arm64)))] == [
        digest_of(signature)
    ]


class Liar(Memory):
    """A registry that lists arbitrary referrers."""

    listed: tuple[bytes, ...] = ()

    async def referrers(self, repository: str, digest: str, *_: Any, **__: Any) -> AsyncIterator[Descriptor]:
        for content in self.listed:
            yield Descriptor(IMAGE, digest_of(content), len(content))


async def test_a_cycle_of_referrers() -> None:
    source, target = Liar(), Memory()
    images = await fill(source, FROM)
    source.listed = (images.sbom, images.signature, images.amd64, images.index)
    await copy(source, target, referrers=True)
    # A manifest that does not name the subject itself is not a referrer.
    assert [each.digest for each in await collect(target.referrers(TO, digest_of(images.index)))] == [
        digest_of(images.sbom)
    ]


async def test_all_tags_with_shared_contents_once(source: Memory) -> None:
    await fill(source, FROM)
    for number in range(40):
        await push_image(source, f"n{number}", config=b"shared", layers=[b"%d" % number], repository=FROM)
    target, progress = Memory(), Progress()
    async with Copy(Ends(source, FROM, target, TO), Settings(jobs=3), progress) as copying:
        copied = [each async for each in copying.all_tags()]
    assert await tags_of(target, TO) == await tags_of(source, FROM) == sorted(each.tag for each in copied)
    assert all(each.error is None and each.descriptor is not None for each in copied)
    assert progress.blobs_copied == 6 + 1 + 40
    assert progress.blobs_existing == 0


async def test_a_manifest_with_concurrent_copies_is_pushed_once_for_each_tag(source: Memory) -> None:
    class Target(Memory):
        def __init__(self) -> None:
            super().__init__()
            self.pushed: list[tuple[str, tuple[str, ...]]] = []

        async def push_manifest(
            self,
            *args: Any,
            digest: str | None = None,
            tags: Sequence[str] = (),
            create_only: Collection[str] = (),
        ) -> PushedManifest:
            assert digest
            self.pushed.append((digest, tuple(tags)))
            return await super().push_manifest(*args, digest=digest, tags=tags)

    content = await push_image(source, "a", repository=FROM)
    await push_manifest(source, content, IMAGE, "b", repository=FROM)
    index = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(IMAGE, content)]})
    await push_manifest(source, index, INDEX, "index", repository=FROM)
    target, progress = Target(), Progress()
    async with Copy(Ends(source, FROM, target, TO), Settings(jobs=3), progress) as copying:
        assert [each.error async for each in copying.all_tags()] == [None] * 3
    assert await tags_of(target, TO) == ["a", "b", "index"]
    image_digest, index_digest = digest_of(content), digest_of(index)
    assert sorted(target.pushed) == sorted([(image_digest, ("a",)), (image_digest, ("b",)), (index_digest, ("index",))])
    assert progress.manifests_copied == 2


async def test_one_tag_that_fails_does_not_end_the_others(source: Memory) -> None:
    await fill(source, FROM)
    await push_manifest(source, image(b"is not there"), IMAGE, "broken", repository=FROM)
    target = Memory()
    async with Copy(Ends(source, FROM, target, TO)) as copying:
        failed = {each.tag: each.error async for each in copying.all_tags() if each.error}
    assert list(failed) == ["broken"]
    error = failed["broken"]
    assert isinstance(error, CopyError)
    assert (error.end, error.what) == ("source", f"blob {digest_of(b'is not there')}")
    assert await tags_of(target, TO) == ["amd64", "latest", "v1"]


async def test_a_caller_that_leaves_early_does_not_wait(source: Memory) -> None:
    await push_image(source, *(f"v{number}" for number in range(10)), repository=FROM)
    ends = Ends(source, FROM, Memory(), TO)
    async with asyncio.timeout(10), Copy(ends, Settings(jobs=2)) as copying, closing(copying.all_tags()) as copied:
        await anext(copied)
        # Now the other results wait for space in the queue.
        await asyncio.sleep(0.1)


async def test_a_registry_that_is_gone_ends_all(source: Memory) -> None:
    await fill(source, FROM)

    class Gone(Memory):
        async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
            raise HTTPError(502, "cannot be reached")

    async with Copy(Ends(source, FROM, Gone(), TO)) as copying:
        with pytest.raises(CopyError) as caught:
            async for _ in copying.all_tags():
                pass
    assert caught.value.end == "destination"
    assert caught.value.is_unreachable


async def test_blobs_are_mounted_within_a_registry() -> None:
    registry, progress = Memory(), Progress()
    await fill(registry, FROM)
    async with Copy(Ends(registry, FROM, registry, TO), Settings(mount=True), progress) as copying:
        await copying.tag("v1", "v1")
    assert (progress.blobs_mounted, progress.blobs_copied, progress.bytes_sent) == (6, 0, 0)


async def test_without_a_mount_the_bytes_are_sent() -> None:
    # The gate hides `from/here`, so nothing can be mounted from it.
    registry, progress = Memory(), Progress()
    await fill(registry, FROM)
    hidden = Sub(registry, "hidden")
    async with Copy(Ends(registry, FROM, hidden, TO), Settings(mount=True), progress) as copying:
        await copying.tag("v1", "v1")
    assert (progress.blobs_mounted, progress.blobs_copied) == (0, 6)
    assert await tags_of(registry, f"hidden/{TO}") == ["v1"]


class Breaking(Memory):
    """Aborts the first streams after one piece."""

    breaks = 1

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: Any) -> Descriptor:
        if self.breaks:
            self.breaks -= 1
            async for _ in chunks:
                raise HTTPError(502, "broke off")
        return await super().push_blob(repository, descriptor, chunks)


async def test_an_aborted_upload_is_repeated_in_chunks(source: Memory) -> None:
    images, target = await fill(source, FROM), Breaking()
    counted = await copy(source, target)
    assert await manifest_of(target, "v1") == images.index
    assert counted.blobs_copied == 6
    assert counted.bytes_done == counted.bytes_total < counted.bytes_sent


def with_blob(change: Callable[[bytes], bytes]) -> type[Memory]:
    """A registry whose layer does not match its digest, and which verifies nothing."""

    class Reader:
        location = None

        def __init__(self, reader: BlobReader) -> None:
            self._reader = reader
            self.descriptor = Descriptor(LAYER, reader.descriptor.digest, len(change(b"shared layer")))
            self.range = (0, self.descriptor.size)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield change(b"shared layer")

        async def aclose(self) -> None:
            await self._reader.aclose()

    class Changed(Memory):
        async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
            reader = await super().get_blob(repository, digest, range)
            return Reader(reader) if digest == digest_of(b"shared layer") else reader

    return Changed


@pytest.mark.parametrize(
    "change, end, code",
    [
        pytest.param(lambda content: content + b"!", "source", "SIZE_INVALID", id="longer"),
        pytest.param(lambda content: content[:-1], "source", "SIZE_INVALID", id="shorter"),
        # Our client would have noticed. Here the destination does.
        pytest.param(bytes.upper, "destination", "DIGEST_INVALID", id="other"),
    ],
)
async def test_a_blob_that_does_not_match_its_digest(change: Callable[[bytes], bytes], end: str, code: str) -> None:
    source, target = with_blob(change)(), Memory()
    await fill(source, FROM)
    with pytest.raises(CopyError) as caught:
        await copy(source, target)
    assert (caught.value.end, caught.value.what) == (end, f"blob {digest_of(b'shared layer')}")
    assert isinstance(caught.value.error, OCIError)
    assert caught.value.error.code == code
    with pytest.raises(OCIError):
        await target.resolve_tag(TO, "v1")


async def test_a_non_distributable_layer_may_be_missing(source: Memory) -> None:
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    layers = [descriptor(foreign, b"at its maker's", urls=["https://example.com/layer"])]
    await push_blob(source, b"{}", FROM)
    content = encode({"schemaVersion": 2, "mediaType": IMAGE, "config": descriptor(LAYER, b"{}"), "layers": layers})
    await push_manifest(source, content, IMAGE, "v1", repository=FROM)
    target = Memory()
    assert (await copy(source, target)).blobs_copied == 1
    assert await manifest_of(target, "v1") == content


async def test_a_manifest_of_an_unknown_type(source: Memory) -> None:
    """The contents that it describes are copied. A mere digest may name something outside of registries."""
    child = await push_image(source, repository=FROM)
    await push_blob(source, b"a blob", FROM)
    described = [descriptor("x/y", content) for content in (b"a blob", child)]
    names = [*described, {"digest": digest_of(b"nowhere")}]
    content = encode({"mediaType": "application/vnd.example+json", "things": names})
    await push_manifest(source, content, "application/vnd.example+json", "v1", repository=FROM)
    target = Memory(lax_child_references=True)
    await copy(source, target)
    assert await manifest_of(target, "v1") == content
    assert (await target.get_manifest(TO, digest_of(child))).content == child
    assert await read_blob(target, digest_of(b"a blob"), repository=TO) == b"a blob"


MISSING = descriptor("application/vnd.example", b"nowhere")


@pytest.mark.parametrize(
    "media_type, body",
    [
        (IMAGE, {"config": descriptor(CONFIG, b"{}"), "layers": [MISSING]}),
        (DOCKER_IMAGE, {"config": descriptor(CONFIG, b"{}"), "layers": [MISSING]}),
        (DOCKER_IMAGE, {"config": MISSING, "layers": []}),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", {"fsLayers": [{"blobSum": MISSING["digest"]}]}),
        (INDEX, {"manifests": [descriptor(IMAGE, b"nowhere")]}),
        (DOCKER_LIST, {"manifests": [descriptor(DOCKER_IMAGE, b"nowhere")]}),
        (INDEX, {"manifests": [MISSING]}),
        (DOCKER_LIST, {"manifests": [MISSING]}),
        ("application/vnd.example+json", {"things": [MISSING]}),
    ],
)
async def test_a_missing_content_of_the_source(media_type: str, body: Json) -> None:
    """An incomplete copy is an error, for every type and for a lax destination."""
    source, target = Memory(lax_child_references=True), Memory(lax_child_references=True)
    await push_blob(source, b"{}", FROM)
    content = encode(body)
    await push_manifest(source, content, media_type, "v1", repository=FROM)
    with pytest.raises(CopyError) as caught:
        await copy(source, target)
    text = str(caught.value)
    assert text.startswith("source: ")
    assert digest_of(b"nowhere") in text
    assert f"the source does not have it, but manifest {digest_of(content)} needs it" in text
    with refused("NAME_UNKNOWN", "MANIFEST_UNKNOWN"):
        await target.get_tag(TO, "v1")


@pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
async def test_an_entry_of_an_unknown_type(source: Memory, media_type: str) -> None:
    """BuildKit stores its cache like this: blobs in an index."""
    await push_blob(source, b"a blob", FROM)
    child = await push_image(source, config=b"{}", repository=FROM)
    entries = [descriptor("application/vnd.example", content) for content in (b"a blob", child)]
    content = encode({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    await push_manifest(source, content, media_type, "v1", repository=FROM)
    target = Memory()
    await copy(source, target)
    assert await manifest_of(target, "v1") == content
    assert await read_blob(target, digest_of(b"a blob"), repository=TO) == b"a blob"
    assert (await target.get_manifest(TO, digest_of(child))).content == child


async def test_a_source_that_gives_a_manifest_another_type(source: Memory) -> None:
    content = await push_image(source, "v1", repository=FROM)

    class Mistyped(ReaderOf, Wrapper):
        async def get_tag(self, repository: str, tag: str) -> Manifest:
            found = await self.inner.get_tag(repository, tag)
            return Manifest(replace(found.descriptor, media_type=INDEX), found.content)

    target = Memory()
    async with Copy(Ends(Mistyped(source), FROM, target, TO)) as copying:
        await copying.tag("v1", "v1")
    assert (await target.get_tag(TO, "v1")).descriptor == Descriptor(IMAGE, digest_of(content), len(content))


async def test_the_nesting_of_indexes_is_limited(source: Memory) -> None:
    content = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    for _ in range(20):
        await push_manifest(source, content, INDEX, repository=FROM)
        content = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(INDEX, content)]})
    await push_manifest(source, content, INDEX, "v1", repository=FROM)
    with pytest.raises(CopyError, match="nested in more than 16 indexes"):
        await copy(source, Memory())


async def test_a_reader_is_closed_whatever_happens(source: Memory) -> None:
    """`aclosing` of a cancelled copy ends its transfers."""
    await fill(source, FROM)
    closed = []

    class Watched(Memory):
        async def push_blob(self, repository: str, descriptor: Descriptor, chunks: Any) -> Descriptor:
            async with aclosing(chunks):
                raise OCIError("DENIED")

    class Watching(Memory):
        async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
            reader = await source.get_blob(repository, digest, range)
            close = reader.aclose

            async def aclose() -> None:
                closed.append(digest)
                await close()

            reader.aclose = aclose  # type: ignore[method-assign]
            return reader

        async def get_tag(self, repository: str, tag: str) -> Any:
            return await source.get_tag(repository, tag)

        async def get_manifest(self, repository: str, digest: str) -> Any:
            return await source.get_manifest(repository, digest)

    with pytest.raises(CopyError, match=r"destination: blob .*: denied"):
        await copy(Watching(), Watched())
    assert closed
