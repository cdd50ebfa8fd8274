"""Lists of referrers: what they read, and when, and the annotations of older folders."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tracemalloc
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ociserver import Descriptor, Handler
from ociserver.store import Store
from ociserver.store.reads import SMALL_ANNOTATIONS
from ociserver.store.schema import MIGRATIONS, REGISTRY
from ociserver.store.sqlite import SQLite
from tests.contract.contents import INDEX, REPOSITORY, collect, descriptor, digest_of, encode, index, push_manifest
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SUBJECT = descriptor(INDEX, b"a subject")
LIST = f"/v2/{REPOSITORY}/referrers/{SUBJECT['digest']}"


class Large:
    """Notes which annotations are read by themselves, and does something before."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.before: list[Any] = []
        self._read = store.database.read_aside
        monkeypatch.setattr(store.database, "read_aside", self)

    async def __call__(self, work: Any) -> Any:
        self.count += 1
        if self.before:
            await self.before.pop(0)
        return await self._read(work)


async def push(store: Store, number: int, size: int, **fields: Any) -> str:
    content = index(subject=SUBJECT, annotations={"number": str(number), "text": "x" * size}, **fields)
    await push_manifest(store, content, INDEX)
    return digest_of(content)


async def pages(store: Store, path: str = LIST) -> list[list[dict[str, Any]]]:
    found = []
    target: str | None = path
    while target:
        reply = await request(Handler(store), "GET", target)
        found.append(reply.json()["manifests"])
        target = next((link[1:].partition(">")[0] for link in reply.all("link")), None)
    return found


async def test_a_page_costs_a_page_of_annotations(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 30 MiB, four are read: three fill a page, and one is the next. They are not parsed."""
    pushed = sorted([await push(store, number, MIB) for number in range(30)])
    large = Large(store, monkeypatch)
    application = Handler(store)
    tracemalloc.start()
    try:
        reply = await request(application, "GET", LIST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [entry["digest"] for entry in reply.json()["manifests"]] == pushed[:3]
    assert large.count == 4
    # Once for what is read, and once for what this test keeps of the answer.
    assert peak < 10 * MIB
    assert [entry["digest"] for page in await pages(store) for entry in page] == pushed


async def test_small_annotations_come_with_the_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    around = SMALL_ANNOTATIONS - len('{"number":"1","text":""}')
    for number, size in enumerate((0, 100, around)):
        await push(store, number, size)
    large = Large(store, monkeypatch)
    assert len((await pages(store))[0]) == 3
    assert large.count == 0
    await push(store, 3, around + 1)
    assert len((await pages(store))[0]) == 4
    assert large.count == 1


async def test_what_is_deleted_while_a_list_is_read_leaves_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets as many as it asks for, if they exist. Otherwise a page would end without a link to the next."""
    pushed = sorted([await push(store, number, 10_000) for number in range(5)])
    large = Large(store, monkeypatch)
    large.before.append(store.delete_manifest(REPOSITORY, pushed[0]))
    found = await collect(store.referrers(REPOSITORY, SUBJECT["digest"], limit=3))
    assert [entry.digest for entry in found] == pushed[1:4]


async def test_a_filter(store: Store) -> None:
    wanted = [await push(store, number, 10_000, artifactType="a/b+json") for number in range(3)]
    await push(store, 3, 10_000, artifactType="a/other")
    found = [entry["digest"] for page in await pages(store, f"{LIST}?artifactType=a/b+json") for entry in page]
    assert found == sorted(wanted)


async def test_a_folder_of_the_first_version(folder: Path) -> None:
    """It has annotations as text, as Python's `json` writes it, and types of any length."""
    contents = [
        encode(
            {"manifests": [], "subject": SUBJECT, "artifactType": kind, "annotations": {"a": "é\n", "b": "x" * size}}
        )
        for kind, size in (("a/b", 3), ("a/" + "b" * 300, 20_000))
    ]
    await asyncio.to_thread(folder.mkdir)
    old = SQLite(folder / "registry.db", schema=replace(REGISTRY, migrations=MIGRATIONS[:1]))
    await old.open()
    await old.close()
    with closing(sqlite3.connect(folder / "registry.db")) as connection, connection:
        connection.execute("INSERT INTO repositories (id, name) VALUES (1, ?)", (REPOSITORY,))
        for content in contents:
            read = json.loads(content)
            connection.execute(
                "INSERT INTO manifests (repository_id, digest, media_type, kind, size, pushed, subject, artifact_type,"
                " annotations, content) VALUES (1, ?, ?, 'index', ?, 0, ?, ?, ?, ?)",
                (
                    digest_of(content),
                    INDEX,
                    len(content),
                    SUBJECT["digest"],
                    read["artifactType"],
                    json.dumps(read["annotations"], ensure_ascii=False),
                    content,
                ),
            )
    async with Store(folder) as store:
        found = await collect(store.referrers(REPOSITORY, SUBJECT["digest"]))
        listed = (await pages(store))[0]
    wanted = [
        Descriptor(INDEX, digest_of(content), len(content), kind, json.loads(content)["annotations"])
        for content, kind in zip(contents, ("a/b", None), strict=True)
    ]
    assert found == sorted(wanted, key=lambda entry: entry.digest)
    assert [entry["annotations"] for entry in listed] == [entry.annotations for entry in found]
