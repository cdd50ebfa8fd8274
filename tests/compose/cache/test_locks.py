"""Locks between the processes of a cache, and the modes of what it keeps beside the store."""

from __future__ import annotations

import os
import stat
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.compose import Cache
from ociserver.compose.cache.locks import Locks
from tests.compose.cache.upstream import REPOSITORY, Upstream

pytestmark = pytest.mark.anyio


async def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    async with locks.hold("tag", "a"):
        assert not locks.lock("tag", "a").acquire()
        async with locks.hold("tag", "b"):
            pass
    assert os.listdir(tmp_path) == []


async def test_a_process_that_stands_still_is_not_waited_for_without_end(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    frozen = locks.lock("tag", "a")
    assert frozen.acquire()
    began = time.monotonic()
    async with locks.hold("tag", "a", wait_s=0.05):
        assert time.monotonic() - began >= 0.05
    assert not locks.lock("tag", "a").acquire(), "it still has it"
    frozen.release()


@pytest.mark.parametrize("group_readable", [False, True])
async def test_modes(tmp_path: Path, upstream: Upstream, *, group_readable: bool) -> None:
    await upstream.image(os.urandom(100_000))
    local = Store(tmp_path / "data", lax_child_references=True, group_readable=group_readable)
    before = os.umask(0)
    try:
        async with AsyncExitStack() as stack:
            cache = await stack.enter_async_context(Cache(upstream, local))
            await cache.get_tag(REPOSITORY, "latest")
            lock = Locks(tmp_path / "data" / "filling", local.modes).lock("held")
            assert lock.acquire()
            stack.callback(lock.release)
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
    finally:
        os.umask(before)
    folder, file = (0o750, 0o640) if group_readable else (0o700, 0o600)
    assert found["filling"] == found["blobs"] == folder
    assert {"cache.db", "cache.db-wal", "registry.db"} <= set(found)
    assert set(found.values()) == {folder, file}
    with closing(os.scandir(tmp_path / "data" / "filling")) as left:
        assert not any(left)
