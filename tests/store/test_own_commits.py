"""Whether only this process has committed, as the database of a store tells without a read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from ociserver.store.sqlite import SQLite
from ociserver.store.transaction import Transaction

pytestmark = pytest.mark.anyio


@pytest.fixture
async def other(database: SQLite, tmp_path: Path) -> AsyncIterator[SQLite]:
    """The same database, as another process has it open."""
    other = SQLite(tmp_path / "registry.db")
    await other.open()
    yield other
    await other.close()


def insert(name: str) -> Transaction[None]:
    yield "INSERT INTO repositories (name) VALUES (?)", (name,)


async def write(database: SQLite, name: str) -> None:
    await database.write(partial(insert, name))


async def test_it_is_not_known_before_the_first_commit(database: SQLite) -> None:
    assert database.epoch() is None


async def test_commits_of_this_process(database: SQLite) -> None:
    await write(database, "one")
    epoch = database.epoch()
    assert epoch is not None
    for name in ("two", "three"):
        await write(database, name)
        assert database.epoch() == epoch


async def test_a_commit_that_changes_nothing(database: SQLite) -> None:
    await write(database, "one")
    epoch = database.epoch()
    with pytest.raises(Exception, match="UNIQUE"):
        await write(database, "one")
    assert database.epoch() == epoch


async def test_another_process_commits(database: SQLite, other: SQLite) -> None:
    await write(database, "one")
    before = database.epoch()
    await write(other, "two")
    assert database.epoch() is None
    await write(database, "three")
    after = database.epoch()
    assert None not in (before, after)
    assert before != after
    assert other.epoch() is None


async def test_another_process_commits_between_two_commits(database: SQLite, other: SQLite) -> None:
    """Nobody has asked in between."""
    await write(database, "one")
    before = database.epoch()
    await write(other, "two")
    await write(database, "three")
    assert database.epoch() != before


async def test_it_is_opened_again(database: SQLite) -> None:
    await write(database, "one")
    before = database.epoch()
    await database.close()
    await database.open()
    assert database.epoch() is None
    await write(database, "two")
    assert database.epoch() not in {None, before}


async def test_the_log_is_truncated(database: SQLite) -> None:
    """This changes the log's index without a commit."""
    await write(database, "one")
    assert await database.shrink_log()
    for name in ("two", "three"):
        await write(database, name)
    epoch = database.epoch()
    assert epoch is not None
    await write(database, "four")
    assert database.epoch() == epoch
