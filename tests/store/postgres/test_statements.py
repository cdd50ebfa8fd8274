"""How many statements an operation takes: each one is a round trip to the database."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ociserver import OCIError, Store
from ociserver._core import digest_of
from ociserver.store.postgres import PostgreSQL
from tests.contract.contents import IMAGE, INDEX, image, index, push_blob
from tests.support.postgres import Cluster

pytestmark = pytest.mark.anyio

_names = itertools.count()


@pytest.fixture(scope="module")
def logging_cluster() -> Iterator[Cluster]:
    cluster = Cluster("fsync=off", "log_statement=all")
    yield cluster
    cluster.close()


class Statements:
    """The statements that the server has logged since the last call."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def __call__(self) -> list[str]:
        lines = self._log.read_text().splitlines()
        new, self._read = lines[self._read :], len(lines)
        return [line.split(": ", 1)[1] for line in new if "LOG:  statement:" in line or "LOG:  execute" in line]


@pytest.fixture
async def store(logging_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Store]:
    database = PostgreSQL(logging_cluster.create(f"s{next(_names)}"), max_connections=1)
    async with Store(tmp_path / "data", database=database) as store:
        yield store


@pytest.fixture
def statements(logging_cluster: Cluster) -> Statements:
    return Statements(logging_cluster.folder / "log")


async def test_a_read_takes_one(store: Store, statements: Statements) -> None:
    blob = await push_blob(store, b"{}", "r")
    manifest = image(b"{}")
    await store.push_manifest("r", manifest, IMAGE, tags=["v1"])
    for read in (
        lambda: store.get_tag("r", "v1"),
        lambda: store.resolve_tag("r", "v1"),
        lambda: store.get_manifest("r", digest_of(manifest)),
        lambda: store.resolve_manifest("r", digest_of(manifest)),
        lambda: store.get_blob("r", blob),
        lambda: store.resolve_blob("r", blob),
    ):
        statements()
        await read()
        assert len(statements()) == 1
    await store.get_manifest("r", digest_of(manifest))
    assert statements() == []  # it was read a moment ago


async def test_the_push_of_a_manifest(store: Store, statements: Statements) -> None:
    """Look what exists, store the manifest, its references, its tags; and BEGIN and COMMIT."""
    await push_blob(store, b"{}", "r")
    contents = image(b"{}"), image(b"{}", artifactType="a"), image(b"{}", artifactType="b")
    pushes: list[tuple[bytes, list[str], int]] = [
        (contents[0], [], 3),
        (contents[1], ["v1"], 4),
        (contents[2], ["v2", "v3"], 4),
        (contents[2], ["v3"], 4),
    ]
    for content, tags, count in pushes:
        statements()
        await store.push_manifest("r", content, IMAGE, tags=tags)
        assert len(statements()) == count + 2
    statements()
    await store.push_manifest("r", index(*contents), INDEX, tags=["all"])
    assert len(statements()) == 6


async def test_a_manifest_with_many_layers(store: Store, statements: Statements) -> None:
    """What is missing is found in each group of references."""
    layers = [str(number).encode() for number in range(150)]
    for layer in (b"{}", *layers[:-1]):
        await push_blob(store, layer, "r")
    with pytest.raises(OCIError) as caught:
        await store.push_manifest("r", image(b"{}", *layers), IMAGE)
    assert caught.value.code == "MANIFEST_BLOB_UNKNOWN"
    await push_blob(store, layers[-1], "r")
    statements()
    await store.push_manifest("r", image(b"{}", *layers), IMAGE, tags=["v1"])
    # Two groups to look for, and two to record; the manifest, its tag; BEGIN and COMMIT.
    assert len(statements()) == 8


async def test_the_push_of_a_small_blob(store: Store, statements: Statements) -> None:
    """The copy, the link; and BEGIN and COMMIT. The repository is in the catalog already."""
    await push_blob(store, b"1", "r")
    statements()
    await push_blob(store, b"2", "r")
    assert len(statements()) == 4


async def test_a_mount(store: Store, statements: Statements) -> None:
    """Whether the source has it, and whole; the link; and BEGIN and COMMIT."""
    digest = await push_blob(store, b"1", "r")
    await push_blob(store, b"2", "other")
    for _ in range(2):
        statements()
        await store.mount_blob("r", "other", digest)
        assert len(statements()) == 4
