"""A manifest that is pushed again under another type, with a collection after it: nothing of it is lost."""

from __future__ import annotations

import contextlib

import pytest

from ociserver import OCIError
from ociserver.store import Store
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.testing.contract.media_types import JSON, NONE, SUBJECT, document
from tests.contract.contents import DOCKER_IMAGE, DOCKER_LIST, IMAGE, INDEX, REPOSITORY, digest_of, read_blob
from tests.contract.contents import collect as listed

pytestmark = pytest.mark.anyio

TYPES = (IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST, JSON, NONE)


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "nameless"])
@pytest.mark.parametrize("first", TYPES)
async def test_under_every_other_type(store: Store, first: str, *, is_named: bool) -> None:
    """The document is of the first type, or of JSON where that is none."""
    content = await document(store, first or JSON, is_named=is_named)
    pushed = await store.push_manifest(REPOSITORY, content, first, tags=["v1"])
    for second in TYPES:
        with contextlib.suppress(OCIError):
            # Without a type of its own it is what it was.
            again = await store.push_manifest(REPOSITORY, content, second, tags=["v2"])
            assert again.descriptor == pushed.descriptor
        await collect(store, Policy(unreferenced_after_s=0, grace_s=0, delete_untagged_after_s=0))
        found = await store.get_tag(REPOSITORY, "v1")
        assert (found.content, found.descriptor) == (content, pushed.descriptor)
        if first in (IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST):
            assert await read_blob(store, digest_of(b"layer")) == b"layer"
            assert await read_blob(store, digest_of(b"config")) == b"config"
        referrers = await listed(store.referrers(REPOSITORY, SUBJECT["digest"]))
        assert [one.digest for one in referrers] == ([pushed.descriptor.digest] if first in (IMAGE, INDEX) else [])
    assert (await check(store, content=True)).findings == []
