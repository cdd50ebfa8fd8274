"""A folder of the version before API keys: everything is there, also after a kill, and keys can be made."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tarfile
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.api_keys import ApiKey, hash_of
from ociserver.store.check import check
from ociserver.store.failpoint import VARIABLE
from ociserver.store.schema import REGISTRY
from tests.contract.contents import collect as listed
from tests.store.looking import rows
from tests.store.upgrade.contents import ACCEPTED, EMPTIED, EMPTY, OTHER, TAGS, TEAM, digest_of

pytestmark = pytest.mark.anyio

OLD = Path(__file__).parent / "5bccebe.tar.gz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


async def assert_whole(store: Store) -> None:
    for repository, tags in TAGS.items():
        accepted = {tag: content for where, tag, _, content in ACCEPTED if where == repository}
        assert await listed(store.tags(repository)) == [tag for tag in tags if tag in accepted]
        for tag, content in accepted.items():
            if ":" not in tag:
                assert (await store.get_tag(repository, tag)).descriptor.digest == digest_of(content)
    assert await listed(store.repositories()) == [TEAM, OTHER]
    for repository in (EMPTY, EMPTIED):
        assert await listed(store.tags(repository)) == []
    assert (await check(store, content=True)).faults == []


async def test_it_is_opened(old: Path) -> None:
    async with Store(old) as store:
        assert rows(store, "PRAGMA user_version") == [(REGISTRY.version,)]
        await assert_whole(store)
        assert await store.api_keys.all() == []
        assert await store.api_keys.create(ApiKey("ci", hash_of("x"), ("*",), ("pull",)))
    async with Store(old) as store:
        await assert_whole(store)
        assert [key.name for key in await store.api_keys.all()] == ["ci"]


@pytest.mark.parametrize("point", ["before migration", "after migration"])
async def test_a_kill_during_the_migration(old: Path, tmp_path: Path, point: str) -> None:
    (tmp_path / "armed").write_text(f"1 {point}")
    script = f"import asyncio, ociserver; asyncio.run(ociserver.Store({str(old)!r}).__aenter__())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, VARIABLE: str(tmp_path)}
    )
    assert await process.wait() == -signal.SIGKILL
    async with Store(old) as store:
        assert rows(store, "PRAGMA user_version") == [(REGISTRY.version,)]
        await assert_whole(store)
        assert await store.api_keys.all() == []
