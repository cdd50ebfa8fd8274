"""The table of API keys: what is written is read, names are unique, and changes reach a log once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.api_keys import ApiKey, hash_of
from tests.store.looking import rows

pytestmark = pytest.mark.anyio

KEY = ApiKey(
    "ci", hash_of("secret"), ("team/*", "a\"b'c"), ("pull", "create"), ("v*",), 1_900_000_000, created=1_800_000_000
)
FACTS = ("name", "hash", "repositories", "allow", "tags", "expires", "created", "used")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def facts(key: ApiKey | None) -> list[object]:
    return [getattr(key, name) for name in FACTS]


async def test_what_is_written_is_read(folder: Path) -> None:
    forever = ApiKey("a", hash_of("other"), ("*",), ("delete",), created=5)
    async with Store(folder) as store, Store(folder) as other:
        for key in (KEY, forever):
            assert await store.api_keys.create(key)
        for each in (store, other):
            assert facts(await each.api_keys.find("ci")) == facts(KEY)
            assert list(map(facts, await each.api_keys.all())) == [facts(forever), facts(KEY)]
            assert await each.api_keys.find("b") is None
    async with Store(folder) as store:
        assert facts(await store.api_keys.find("ci")) == facts(KEY)


async def test_a_name_is_unique(folder: Path) -> None:
    async with Store(folder) as store, Store(folder) as other:
        keys = [replace(KEY, hash=hash_of(str(number))) for number in range(8)]
        pairs = zip([store, other] * 4, keys, strict=True)
        made = await asyncio.gather(*(each.api_keys.create(key) for each, key in pairs))
        assert sorted(made) == [False] * 7 + [True]
        winner = keys[made.index(True)].hash
        assert {key.hash for key in await other.api_keys.all()} == {winner}


async def test_names_that_no_key_can_have(folder: Path) -> None:
    names = ["", "A", "a:b", "a/b", "-a", "a-", ".", "a b", "a\n", "é", "a" * 64, "../a", "a\0", "a';--"]
    async with Store(folder) as store:
        for name in names:
            with pytest.raises(ValueError, match="name of a key"):
                await store.api_keys.create(replace(KEY, name=name))
            assert await store.api_keys.find(name) is None
            assert not await store.api_keys.revoke(name)
        assert await store.api_keys.all() == []


async def test_a_change_of_another_process_is_seen_at_once(folder: Path) -> None:
    async with Store(folder) as store, Store(folder) as other:
        for _ in range(3):
            assert await store.api_keys.create(KEY)
            for find in (other.api_keys.find("ci"), asyncio.to_thread(other.api_keys.find_nowait, "ci")):
                assert facts(await find) == facts(KEY)
            assert await store.api_keys.revoke("ci")
            assert await asyncio.to_thread(other.api_keys.find_nowait, "ci") is None
            assert await other.api_keys.find("ci") is None


async def test_the_last_use_only_grows(folder: Path) -> None:
    async with Store(folder) as store:
        await store.api_keys.create(KEY)
        for used, expected in (({"ci": 100, "unknown": 5}, 100), ({"ci": 40}, 100), ({"ci": 160}, 160)):
            await store.api_keys.record_use(used)
            found = await store.api_keys.find("ci")
            assert found is not None
            assert found.used == expected
            assert found == KEY, "whether it was used is no difference"
        assert await store.api_keys.find("unknown") is None


async def test_each_change_is_taken_once(folder: Path) -> None:
    async with Store(folder) as store, Store(folder) as other:
        await store.api_keys.create(KEY, by="alice")
        await store.api_keys.create(KEY, by="mallory")
        await store.api_keys.revoke("ci", by="bob")
        await store.api_keys.revoke("ci", by="mallory")
        taken = await asyncio.gather(*(each.api_keys.take_events() for each in (store, other, store, other)))
        events = [event for part in taken for event in part]
        assert [(event.event, event.name, event.by) for event in events] == [
            ("key-created", "ci", "alice"),
            ("key-revoked", "ci", "bob"),
        ]
        assert (events[0].at, events[0].facts["expires"]) == (KEY.created, KEY.expires)
        assert rows(store, "SELECT COUNT(*) FROM api_key_events") == [(0,)]
        assert await store.api_keys.take_events() == []
