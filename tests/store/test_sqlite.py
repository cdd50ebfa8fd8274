"""The database part: group commit, its errors, and how a folder is refused."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ociserver import OCIError
from ociserver.store import StoreError, pages
from ociserver.store.group_commit import MAX_GROUP
from ociserver.store.process_lock import ProcessLock
from ociserver.store.schema import MIGRATIONS, REGISTRY, Schema
from ociserver.store.sqlite import SQLite
from ociserver.store.transaction import Row, Transaction
from tests.support.damage import spoil_tables

pytestmark = pytest.mark.anyio


def insert(name: str) -> Transaction[int]:
    rows = yield "INSERT INTO repositories (name) VALUES (?) RETURNING id", (name,)
    number: int = rows[0][0]
    return number


def insert_and_fail(name: str, error: Exception) -> Transaction[None]:
    yield "INSERT INTO repositories (name) VALUES (?)", (name,)
    raise error


def fail_the_commit() -> Transaction[None]:
    """Violate a foreign key, but only when the transaction is committed."""
    yield "PRAGMA defer_foreign_keys = ON", ()
    yield "INSERT INTO tags (repository_id, name, manifest_id) VALUES (77, 'tag', 77)", ()


def names() -> Transaction[list[str]]:
    rows = yield "SELECT name FROM repositories ORDER BY name", ()
    return [row[0] for row in rows]


class Batch:
    """Keeps the writer thread busy, so that all transactions that come meanwhile share one commit."""

    def __init__(self, database: SQLite) -> None:
        self._database = database
        self._at_work = threading.Event()
        self._go = threading.Event()
        self._first = asyncio.ensure_future(database.write(self._wait))
        self.tasks: list[asyncio.Future[object]] = []

    @classmethod
    async def begin(cls, database: SQLite) -> Batch:
        batch = cls(database)
        assert await asyncio.to_thread(batch._at_work.wait, 30)
        return batch

    def _wait(self) -> Transaction[None]:
        self._at_work.set()
        assert self._go.wait(30)
        yield "SELECT 1", ()

    async def write(
        self, make: Callable[[], Transaction[object]], *, check: Callable[[], None] | None = None
    ) -> asyncio.Future[object]:
        task = asyncio.ensure_future(self._database.write(make, check=check))
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def commit(self) -> list[object]:
        """The results of all, errors too."""
        self._go.set()
        await self._first
        return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_many_works_share_one_commit(database: SQLite) -> None:
    assert database._writer is not None
    statements: list[str] = []
    batch = await Batch.begin(database)
    for number in range(100):
        await batch.write(partial(insert, f"name-{number:03}"))
    database._writer.set_trace_callback(statements.append)
    results = await batch.commit()
    assert sorted(results) == list(range(1, 101))  # type: ignore[type-var]
    assert statements.count("COMMIT") == 2  # that of the one that waited, and one for the hundred
    assert len(await database.read(names())) == 100


async def test_a_batch_is_bounded(database: SQLite) -> None:
    assert database._writer is not None
    statements: list[str] = []
    batch = await Batch.begin(database)
    for number in range(MAX_GROUP + 1):
        await batch.write(partial(insert, f"name-{number}"))
    database._writer.set_trace_callback(statements.append)
    await batch.commit()
    assert statements.count("COMMIT") == 3


async def test_a_work_that_fails_does_not_undo_its_neighbours(database: SQLite) -> None:
    batch = await Batch.begin(database)
    await batch.write(partial(insert, "before"))
    await batch.write(partial(insert_and_fail, "failed", OCIError("DENIED")))
    await batch.write(partial(insert, "before"))  # taken already
    await batch.write(partial(insert_and_fail, "broken", ZeroDivisionError()))
    await batch.write(partial(insert, "after"))
    before, denied, taken, broken, after = await batch.commit()
    assert isinstance(denied, OCIError)
    assert isinstance(taken, sqlite3.IntegrityError)
    assert isinstance(broken, ZeroDivisionError)
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert await database.read(names()) == ["after", "before"]


async def test_what_fails_before_it_changes_anything_costs_the_others_nothing(database: SQLite) -> None:
    def refuse() -> Transaction[None]:
        yield "SELECT 1", ()
        raise OCIError("DENIED")

    assert database._writer is not None
    statements: list[str] = []
    batch = await Batch.begin(database)
    await batch.write(partial(insert, "before"))
    await batch.write(refuse)
    await batch.write(partial(insert, "after"))
    database._writer.set_trace_callback(statements.append)
    before, denied, after = await batch.commit()
    assert isinstance(denied, OCIError)
    assert (before, after) == (1, 2)
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    assert len(inserts) == 2
    assert "SAVEPOINT job" not in statements


async def test_an_error_of_sqlite_may_have_changed_something(database: SQLite) -> None:
    """Its statement is undone, except in a damaged page. So nothing of that run is committed."""
    assert database._writer is not None
    statements: list[str] = []
    batch = await Batch.begin(database)
    await batch.write(partial(insert, "name"))
    await batch.write(partial(insert, "name"))
    database._writer.set_trace_callback(statements.append)
    first, taken = await batch.commit()
    assert first == 1
    assert isinstance(taken, sqlite3.IntegrityError)
    assert statements.count("ROLLBACK") == 1
    assert statements.count("SAVEPOINT job") == 2


async def test_what_runs_again_has_the_result_of_its_second_run(database: SQLite) -> None:
    """Its first run saw the changes of a transaction that was undone."""

    def insert_unless_taken(name: str) -> Transaction[int]:
        rows = yield "SELECT 1 FROM repositories WHERE name = ?", (name,)
        if rows:
            raise OCIError("DENIED", "taken")
        return (yield from insert(name))

    def insert_in_the_first_run() -> Transaction[None]:
        if not runs:
            yield from insert("name")
        runs.append(1)

    runs: list[int] = []
    batch = await Batch.begin(database)
    await batch.write(insert_in_the_first_run)
    await batch.write(partial(insert_unless_taken, "name"))
    await batch.write(partial(insert_and_fail, "failed", OCIError("DENIED")))
    _, second, failed = await batch.commit()
    assert second == 1
    assert isinstance(failed, OCIError)
    assert await database.read(names()) == ["name"]


@pytest.mark.parametrize("others", [0, 2])
async def test_a_check_that_fails(database: SQLite, others: int) -> None:
    """Nothing runs, whether the transaction is alone or in a group."""

    def check() -> None:
        raise OCIError("DENIED", "no space")

    batch = await Batch.begin(database)
    for number in range(others):
        await batch.write(partial(insert, f"other-{number}"))
    checked: list[int] = []
    await batch.write(partial(insert, "checked"), check=lambda: checked.append(1))
    await batch.write(partial(insert, "refused"), check=check)
    *_, denied = await batch.commit()
    assert isinstance(denied, OCIError)
    assert denied.message == "no space"
    assert checked == [1]
    assert await database.read(names()) == ["checked", *(f"other-{number}" for number in range(others))]
    with pytest.raises(OCIError, match="no space"):
        await database.write(partial(insert, "refused"), check=check)
    assert "refused" not in await database.read(names())


async def test_a_commit_that_fails_fails_all(database: SQLite) -> None:
    batch = await Batch.begin(database)
    await batch.write(partial(insert, "one"))
    await batch.write(fail_the_commit)
    await batch.write(partial(insert_and_fail, "two", OCIError("DENIED")))
    await batch.write(partial(insert, "three"))
    results = await batch.commit()
    # The one that failed by itself too: what it saw may have been a neighbour's transaction.
    assert [type(result) for result in results] == [sqlite3.IntegrityError] * 4
    assert len({id(result) for result in results}) == 4, "one error raised by many gathers all their tracebacks"
    assert await database.read(names()) == []
    await database.write(partial(insert, "next"))
    assert await database.read(names()) == ["next"]


async def test_a_caller_that_is_cancelled_undoes_nothing(database: SQLite) -> None:
    batch = await Batch.begin(database)
    cancelled = await batch.write(partial(insert, "cancelled"))
    failed = await batch.write(partial(insert_and_fail, "failed", OCIError("DENIED")))
    await batch.write(partial(insert, "other"))
    cancelled.cancel()
    failed.cancel()
    await batch.commit()
    assert await database.read(names()) == ["cancelled", "other"]


async def test_close_lets_everything_finish(database: SQLite, tmp_path: Path) -> None:
    batch = await Batch.begin(database)
    for number in range(MAX_GROUP + 10):
        await batch.write(partial(insert, f"name-{number}"))
    closing = asyncio.ensure_future(database.close())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="not open"):
        await database.write(partial(insert, "late"))
    results = await batch.commit()
    await closing
    assert not [result for result in results if isinstance(result, BaseException)]
    again = SQLite(tmp_path / "registry.db")
    await again.open()
    assert len(await again.read(names())) == MAX_GROUP + 10
    await again.close()
    with pytest.raises(RuntimeError, match="not open"):
        await again.read(names())


async def test_it_can_be_opened_again(database: SQLite) -> None:
    await database.write(partial(insert, "first"))
    await database.close()
    await database.open()
    await database.write(partial(insert, "second"))
    assert await database.read(names()) == ["first", "second"]


async def test_reads_see_what_was_committed_and_wait_for_nobody(database: SQLite) -> None:
    await database.write(partial(insert, "committed"))
    batch = await Batch.begin(database)
    await batch.write(partial(insert, "waiting"))
    began = time.perf_counter()
    assert await database.read(names()) == ["committed"]
    assert time.perf_counter() - began < 0.05
    await batch.commit()


async def test_two_processes_take_turns(database: SQLite, tmp_path: Path) -> None:
    other = SQLite(tmp_path / "registry.db")
    await other.open()
    both = (database, other)
    await asyncio.gather(*(both[number % 2].write(partial(insert, str(number))) for number in range(600)))
    await other.close()
    assert len(await database.read(names())) == 600


async def test_an_error_of_a_statement_comes_out_of_read(database: SQLite) -> None:
    def nonsense() -> Transaction[list[Row]]:
        return (yield "SELECT nothing", ())

    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        await database.read(nonsense())


async def test_a_database_that_another_program_has_locked(
    database: SQLite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads continue. Writes wait, and are refused after a while. They continue when the lock is released."""
    assert database._writer is not None
    database._writer.execute("PRAGMA busy_timeout = 100")
    blocker = sqlite3.connect(tmp_path / "registry.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(OCIError, match="locked by another program") as caught:
        await database.write(partial(insert, "locked out"))
    assert caught.value.status == 503
    assert await database.read(names()) == []
    blocker.execute("ROLLBACK")
    blocker.close()
    await database.write(partial(insert, "again"))
    assert await database.read(names()) == ["again"]


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[SQLite]:
    """A database whose writer waits for other processes only for a moment."""
    database = SQLite(tmp_path / "registry.db", lock_wait_s=0.2)
    await database.open()
    yield database
    await database.close()


def why_not(database: SQLite) -> str | None:
    return database.unavailable


async def test_a_process_that_stands_still_with_the_lock(impatient: SQLite, tmp_path: Path) -> None:
    """Waiting transactions are refused in time, and new ones at once. Both are undone. Then writes continue."""
    await impatient.write(partial(insert, "before"))
    other = ProcessLock(tmp_path / "registry.lock", 0o600)
    assert other.acquire()
    first = asyncio.ensure_future(impatient.write(partial(insert, "first")))
    await asyncio.sleep(0)
    assert why_not(impatient) is None
    for write in (first, impatient.write(partial(insert, "second"))):
        with pytest.raises(OCIError, match="another process holds the lock") as caught:
            await write
        assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "10")
    assert "another process holds the lock" in (why_not(impatient) or "")
    assert await impatient.read(names()) == ["before"]
    other.release()
    async with asyncio.timeout(10):
        while why_not(impatient):  # noqa: ASYNC110  # of a thread
            await asyncio.sleep(0.001)
    await impatient.write(partial(insert, "after"))
    assert await impatient.read(names()) == ["after", "before"]
    other.close()


async def test_closing_while_a_process_stands_still_with_the_lock(database: SQLite, tmp_path: Path) -> None:
    """Writes that it blocks are refused, and the database can be opened again."""
    other = ProcessLock(tmp_path / "registry.lock", 0o600)
    assert other.acquire()
    writing = [asyncio.ensure_future(database.write(partial(insert, str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    writing[0].cancel()
    await database.close()
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, OCIError, OCIError]
    other.close()
    await database.open()
    assert await database.read(names()) == []
    await database.write(partial(insert, "again"))


# Space that it gives back


def used_pages(path: Path) -> tuple[int, int, int]:
    """`auto_vacuum`, pages and free ones."""
    with closing(sqlite3.connect(path)) as connection:
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count")]
        return connection.execute("PRAGMA auto_vacuum").fetchone()[0], values[0], values[1]


def insert_blob(number: int, size: int) -> Transaction[None]:
    yield "INSERT INTO copies (digest, size, content) VALUES (?, ?, ?)", (str(number), size, os.urandom(size))


def delete_blobs(before: int) -> Transaction[None]:
    yield "DELETE FROM copies WHERE CAST(digest AS INTEGER) < ?", (before,)


def contents() -> Transaction[list[Row]]:
    return (yield "SELECT digest, content FROM copies ORDER BY id", ())


async def test_pages_are_taken_out(database: SQLite, tmp_path: Path) -> None:
    """So many at a time, and of those that are left each is what it was."""
    for number in range(100):
        await database.write(partial(insert_blob, number, 16_000), durable=False)
    await database.write(partial(delete_blobs, 90))
    kept = await database.read(contents())
    free = await database.read(pages.count_free())
    assert free >= 90 * 3
    await database.write(partial(pages.take_out, 10))
    assert await database.read(pages.count_free()) == free - 10
    await database.write(partial(pages.take_out, free))
    assert await database.read(pages.count_free()) == 0
    assert await database.read(contents()) == kept
    assert database.log_size() > 0
    assert await database.shrink_log()
    assert database.log_size() == 0
    assert database.owed() == 0
    assert (tmp_path / "registry.db").stat().st_size < 11 * 2 * 16_000 + 40 * pages.PAGE_SIZE
    assert await database.problems() == []
    await database.write(partial(insert_blob, 0, 10))


async def test_pages_are_taken_out_beside_other_transactions(database: SQLite) -> None:
    """In one group, in which one of them fails."""
    for number in range(20):
        await database.write(partial(insert_blob, number, 16_000), durable=False)
    await database.write(partial(delete_blobs, 15))
    free = await database.read(pages.count_free())
    batch = await Batch.begin(database)
    for transaction in (
        partial(insert, "before"),
        partial(pages.take_out, 5),
        partial(insert_and_fail, "failed", OCIError("DENIED")),
        partial(insert, "after"),
    ):
        await batch.write(transaction)
    await batch.commit()
    assert await database.read(names()) == ["after", "before"]
    assert await database.read(pages.count_free()) <= free - 5
    assert await database.problems() == []


async def test_the_log_is_not_cut_while_a_reader_needs_it(database: SQLite, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM repositories").fetchone()
        await database.write(partial(insert, "new"))
        assert not await database.shrink_log()
        assert reader.execute("SELECT COUNT(*) FROM repositories").fetchone() == (0,)
        assert await database.read(names()) == ["new"]
        await database.write(partial(insert, "newer"))
    assert await database.shrink_log()
    assert database.log_size() == 0
    assert await database.read(names()) == ["new", "newer"]


async def test_the_log_is_cut_beside_writers(database: SQLite, tmp_path: Path) -> None:
    other = SQLite(tmp_path / "registry.db")
    await other.open()
    both, written = (database, other), 0

    async def write() -> None:
        nonlocal written
        while written < 300:
            written += 1
            await both[written % 2].write(partial(insert, f"{written:04}"), durable=False)

    writing = asyncio.gather(*(write() for _ in range(4)))
    cut = 0
    while not writing.done():
        cut += await both[cut % 2].shrink_log()
    await writing
    assert cut > 0
    assert len(await other.read(names())) >= 300
    await other.close()
    assert await database.problems() == []


def as_an_older_version_made_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    assert used_pages(path)[0] == 0


async def test_an_older_file_is_rewritten_if_it_is_small(database: SQLite, tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    for number in range(50):
        await database.write(partial(insert_blob, number, 16_000), durable=False)
    kept = await database.read(contents())
    await database.close()
    as_an_older_version_made_it(path)
    larger = SQLite(path, convert_bytes=50 * 16_000)
    await larger.open()
    assert used_pages(path)[0] == 0
    await larger.write(partial(delete_blobs, 10))
    assert used_pages(path)[2] > 0
    assert await larger.read(pages.count_free()) == 0, "none that could be taken out"
    await larger.close()
    # Together, as the processes of one server are opened.
    opened = [SQLite(path) for _ in range(3)]
    await asyncio.gather(*(each.open() for each in opened))
    assert used_pages(path)[0] == 2
    for each in opened:
        assert await each.read(contents()) == kept[10:]
        assert await each.problems() == []
        await each.close()


# How a folder is refused


async def refusal(path: Path, schema: Schema = REGISTRY) -> str:
    database = SQLite(path, schema=schema)
    with pytest.raises(StoreError) as caught:
        await database.open()
    return str(caught.value)


async def test_a_newer_schema(database: SQLite, tmp_path: Path) -> None:
    assert database._writer is not None
    database._writer.execute(f"PRAGMA user_version = {REGISTRY.version + 1}")
    said = await refusal(tmp_path / "registry.db")
    assert "written by a newer ociserver" in said
    assert "upgrade ociserver" in said


async def test_a_database_of_another_program(tmp_path: Path) -> None:
    for version in (0, 1):
        path = tmp_path / f"registry-{version}.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        assert "database of another program" in await refusal(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"not a database" * 1000,
        lambda data: data[:16] + bytes(100) + data[116:],
        lambda data: data[:100] + b"\xff" * 3996 + data[4096:],
        lambda data: data[: len(data) // 2],
    ],
    ids=["text", "header", "schema", "half"],
)
async def test_a_damaged_database(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "registry.db"
    database = SQLite(path)
    await database.open()
    for number in range(200):
        await database.write(partial(insert, f"name-{number}"), durable=False)
    await database.close()
    path.write_bytes(spoil(path.read_bytes()))
    said = await refusal(path)
    assert "is damaged" in said
    assert "backup" in said


async def test_damage_that_is_met_later(database: SQLite, tmp_path: Path) -> None:
    """A start does not look for it, because that would read the whole database. `check` does, and reads report it."""
    for number in range(200):
        await database.write(partial(insert, f"name-{number:0100}"), durable=False)
    await database.close()
    spoil_tables(tmp_path / "registry.db")
    await database.open()
    with pytest.raises(OCIError, match="damaged") as caught:
        await database.read(names())
    assert caught.value.status == 500


async def test_a_path_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be opened" in await refusal(tmp_path / "file" / "registry.db")
    (tmp_path / "registry.db").mkdir()
    assert "cannot be opened" in await refusal(tmp_path / "registry.db")


# Migrations


def newer(*migrations: tuple[str, ...]) -> Schema:
    return Schema((*MIGRATIONS, *migrations), REGISTRY.table)


async def test_an_older_folder_is_brought_up_to_date(database: SQLite, tmp_path: Path) -> None:
    await database.write(partial(insert, "kept"))
    await database.close()
    schema = newer(("ALTER TABLE repositories ADD COLUMN extra {bytes}",), ("CREATE TABLE more (x)",))
    # Many processes of one server start together; each step is made once.
    opened = [SQLite(tmp_path / "registry.db", schema=schema) for _ in range(5)]
    await asyncio.gather(*(one.open() for one in opened))
    for one in opened:
        assert await one.read(names()) == ["kept"]
        await one.close()
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.version,)
    connection.close()


async def test_a_migration_that_fails_changes_nothing(database: SQLite, tmp_path: Path) -> None:
    await database.write(partial(insert, "kept"))
    await database.close()
    schema = newer(("CREATE TABLE more (x)", "CREATE TABLE more (x)"))
    assert "table more already exists" in await refusal(tmp_path / "registry.db", schema)
    await database.open()
    assert await database.read(names()) == ["kept"]


async def test_every_version_is_what_its_statements_say(tmp_path: Path) -> None:
    """A released migration never changes: a folder has had it once, and will not have it again."""
    database = SQLite(tmp_path / "registry.db")
    await database.open()
    await database.close()
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (REGISTRY.version,)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
