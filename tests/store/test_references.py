"""Manifests with more references than one statement takes."""

from __future__ import annotations

import pytest

from ociserver.store import Store
from ociserver.store.rereading import MAX_DIGESTS
from tests.contract.contents import (
    BINARY,
    IMAGE,
    INDEX,
    digest_of,
    encode,
    image,
    index,
    push_blob,
    push_manifest,
)
from tests.contract.errors import refused
from tests.store.looking import rows

pytestmark = pytest.mark.anyio

COUNT = 2 * MAX_DIGESTS + 1


async def test_layers(store: Store) -> None:
    layers = [b"layer %d" % number for number in range(COUNT)]
    for layer in layers[:-1]:
        await push_blob(store, layer)
    # One of them twice, as images have it.
    content = image(layers[0], *layers, layers[1])
    with refused("MANIFEST_BLOB_UNKNOWN") as error:
        await push_manifest(store, content, IMAGE)
    assert error.value.detail == {"digest": digest_of(layers[-1])}
    assert rows(store, "SELECT * FROM manifests") == []
    await push_blob(store, layers[-1])
    await push_manifest(store, content, IMAGE)
    found = {digest for (digest,) in rows(store, "SELECT digest FROM refs")}
    assert found == {digest_of(layer) for layer in layers}


async def test_children(store: Store) -> None:
    children = [encode({"schemaVersion": 2, "number": number}) for number in range(COUNT)]
    for child in children[:-1]:
        await push_manifest(store, child, BINARY)
    with refused("MANIFEST_BLOB_UNKNOWN") as error:
        await push_manifest(store, index(*children), INDEX)
    assert error.value.detail == {"digest": digest_of(children[-1])}
    await push_manifest(store, children[-1], BINARY)
    digest = (await push_manifest(store, index(*children), INDEX)).descriptor.digest
    statement = "SELECT COUNT(*) FROM refs JOIN manifests ON id = manifest_id WHERE manifests.digest = ?"
    assert rows(store, statement, digest) == [(COUNT,)]
