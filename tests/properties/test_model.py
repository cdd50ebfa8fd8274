"""A registry compared with a model of dictionaries: after any sequence of calls both have the same contents."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver import Memory
from tests.contract.contents import collect, digest_of, push_blob, push_manifest, read_blob, tags_of
from tests.contract.errors import code_of

REPOSITORIES = ["a", "a/b", "c"]
CONTENTS = [b"one", b"two", b"three"]
TAGS = ["latest", "v1", "v2"]
PLAIN = "text/plain"


@dataclass
class Model:
    """The expected contents of a repository."""

    blobs: set[bytes] = field(default_factory=set)
    manifests: set[bytes] = field(default_factory=set)
    tags: dict[str, bytes] = field(default_factory=dict)


repositories = st.sampled_from(REPOSITORIES)
contents = st.sampled_from(CONTENTS)
tags = st.sampled_from(TAGS)
steps = st.one_of(
    st.tuples(st.just("push_blob"), repositories, contents),
    st.tuples(st.just("delete_blob"), repositories, contents),
    st.tuples(st.just("mount"), repositories, contents, repositories),
    st.tuples(st.just("push_manifest"), repositories, contents, st.lists(tags, unique=True)),
    st.tuples(st.just("delete_manifest"), repositories, contents),
    st.tuples(st.just("delete_tag"), repositories, tags),
)


async def act(backend: Memory, models: dict[str, Model], step: tuple[object, ...]) -> None:
    """Run one step in both, and compare the results."""
    match step:
        case ("push_blob", str(name), bytes(content)):
            await push_blob(backend, content, name)
            models.setdefault(name, Model()).blobs.add(content)
        case ("delete_blob", str(name), bytes(content)):
            known = name in models and content in models[name].blobs
            code = await code_of(backend.delete_blob(name, digest_of(content)))
            assert code == (None if known else "BLOB_UNKNOWN" if name in models else "NAME_UNKNOWN")
            if known:
                models[name].blobs.remove(content)
        case ("mount", str(source), bytes(content), str(target)):
            known = source in models and content in models[source].blobs
            code = await code_of(backend.mount_blob(source, target, digest_of(content)))
            assert code == (None if known else "BLOB_UNKNOWN" if source in models else "NAME_UNKNOWN")
            if known:
                models.setdefault(target, Model()).blobs.add(content)
        case ("push_manifest", str(name), bytes(content), list(wanted)):
            await push_manifest(backend, content, PLAIN, *wanted, repository=name)
            model = models.setdefault(name, Model())
            model.manifests.add(content)
            model.tags |= dict.fromkeys(wanted, content)
        case ("delete_manifest", str(name), bytes(content)):
            known = name in models and content in models[name].manifests
            code = await code_of(backend.delete_manifest(name, digest_of(content)))
            assert code == (None if known else "MANIFEST_UNKNOWN" if name in models else "NAME_UNKNOWN")
            if known:
                models[name].manifests.remove(content)
                models[name].tags = {tag: value for tag, value in models[name].tags.items() if value != content}
        case ("delete_tag", str(name), str(tag)):
            known = name in models and tag in models[name].tags
            code = await code_of(backend.delete_tag(name, tag))
            assert code == (None if known else "MANIFEST_UNKNOWN" if name in models else "NAME_UNKNOWN")
            if known:
                del models[name].tags[tag]
        case _:
            raise AssertionError(step)


async def compare(backend: Memory, models: dict[str, Model]) -> None:
    """The registry has exactly the contents of the models."""
    for name, model in models.items():
        assert await tags_of(backend, name) == sorted(model.tags)
        for tag, content in model.tags.items():
            assert (await backend.get_tag(name, tag)).content == content
        for content in CONTENTS:
            digest = digest_of(content)
            code = await code_of(backend.resolve_manifest(name, digest))
            assert code == (None if content in model.manifests else "MANIFEST_UNKNOWN")
            if content in model.blobs:
                assert await read_blob(backend, digest, repository=name) == content
            else:
                assert await code_of(backend.get_blob(name, digest)) == "BLOB_UNKNOWN"
    holding = {name for name, model in models.items() if model.blobs or model.manifests}
    # An empty repository may be listed or not.
    assert holding <= set(await collect(backend.repositories())) <= set(models)
    blobs = set[bytes]().union(*(model.blobs for model in models.values()))
    manifests = sum(len(content) for model in models.values() for content in model.manifests)
    assert backend.content_bytes == sum(map(len, blobs)) + manifests


@given(st.lists(steps, max_size=40))
@settings(max_examples=100)
def test_a_registry_has_the_contents_of_the_model(sequence: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        backend, models = Memory(), dict[str, Model]()
        for step in sequence:
            await act(backend, models, step)
        await compare(backend, models)

    asyncio.run(run())


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.none() | st.integers(0, 60)), max_size=12),
    st.sampled_from(["sha256", "sha384", "sha512"]),
    st.sampled_from(["sha256", "sha384", "sha512"]),
)
@settings(max_examples=100)
def test_an_upload_has_the_accepted_chunks(
    chunks: list[tuple[bytes, int | None]], started_with: str, closed_with: str
) -> None:
    async def run() -> None:
        backend = Memory()
        upload = await backend.push_blob_chunked("a", algorithm=started_with)
        await upload.aclose()
        content = b""
        for chunk, offset in chunks:
            writer = await backend.push_blob_chunked_resume("a", upload.id, offset=offset)
            assert writer.size == len(content)
            code = await code_of(writer.write(chunk))
            await writer.aclose()
            fits = not chunk or offset in (None, len(content))
            assert code == (None if fits else "RANGE_INVALID")
            content += chunk if fits else b""
        writer = await backend.push_blob_chunked_resume("a", upload.id, offset=None)
        await writer.commit(digest_of(content, closed_with))
        await writer.aclose()
        assert await read_blob(backend, digest_of(content, closed_with), repository="a") == content

    asyncio.run(run())
