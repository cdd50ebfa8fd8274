"""Texts that clients can send, and PostgreSQL cannot have as they are: those with the character 0."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from ociserver import Store
from ociserver._core import digest_of
from ociserver.store.postgres import PostgreSQL
from ociserver.store.postgres_text import restored, storable
from tests.contract.contents import IMAGE, REPOSITORY, descriptor, image, push_blob, push_image

pytestmark = pytest.mark.anyio

TEXTS: Final = [
    "a" + end
    for end in (
        *("", "\0", "\0\0", "\0\1", "\0b", "\1", "\1\0", "\1\1", "\1\1\1", "\1\2", "\1b", "\2", "\2\1"),
        *(" ", "b", "\x7f", "\x80", "\ufffd", "\ufffe", "\uffff", "\U0001f600"),
    )
]


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(tmp_path / "data", database=PostgreSQL(url)) as store:
        yield store


async def test_an_artifact_type(store: Store) -> None:
    """The only text of a client that is stored as a text and may have every character."""
    subject = await push_image(store, "subject")
    where = descriptor(IMAGE, subject)
    for text in TEXTS:
        await store.push_manifest(REPOSITORY, image(b"{}", artifactType=text, subject=where), IMAGE)
    found = [one.artifact_type async for one in store.referrers(REPOSITORY, digest_of(subject))]
    assert sorted(map(str, found)) == sorted(TEXTS)
    for text in TEXTS:
        assert [one.artifact_type async for one in store.referrers(REPOSITORY, digest_of(subject), text)] == [text]


async def test_an_annotation(store: Store) -> None:
    subject = await push_image(store, "subject")
    annotations = {text: text for text in TEXTS}
    referrer = image(b"{}", artifactType="a/b", subject=descriptor(IMAGE, subject), annotations=annotations)
    await store.push_manifest(REPOSITORY, referrer, IMAGE)
    (found,) = [one async for one in store.referrers(REPOSITORY, digest_of(subject))]
    assert dict(found.annotations) == annotations


async def test_where_a_list_begins(store: Store) -> None:
    await push_blob(store, b"{}")
    names = ["v1", "v1.0", "v2"]
    await store.push_manifest(REPOSITORY, image(b"{}"), IMAGE, tags=names)
    for after in ("v1", "v1\0", "v1\1", "v1\ufffe", "v1.0\0", "v1.0\1"):
        assert [tag async for tag in store.tags(REPOSITORY, start_after=after)] == [one for one in names if one > after]


async def test_stored_texts_are_in_the_same_order(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        'SELECT one FROM unnest($1::TEXT[]) AS one ORDER BY one COLLATE "C"', list(map(storable, reversed(TEXTS)))
    )
    assert [restored(one) for (one,) in rows] == sorted(TEXTS)
