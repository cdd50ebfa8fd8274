"""A page costs what it returns, and not what the registry holds: counted in rows and blocks that PostgreSQL reads.

Each statement is explained twice: when it is new, and after some repetitions, when PostgreSQL may take a plan for any
parameters.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from ociserver import Store
from ociserver.auth.guard import Guard
from ociserver.auth.owned_uploads import UploadOwners
from ociserver.auth.rule import Rule
from ociserver.auth.rules import Rules
from ociserver.store import collecting, holdings
from ociserver.store.postgres import PostgreSQL
from ociserver.store.postgres_text import drive
from ociserver.store.transaction import Transaction
from tests.support import postgres

IS_FULL: Final = bool(os.environ.get("FULL_TESTS"))

pytestmark = [
    pytest.mark.anyio,
    # Beside other tests, filling the tables of the full test takes minutes.
    pytest.mark.timeout(1200 if IS_FULL else 120),
]

LINKS: Final = 1_000_000 if IS_FULL else 5_000
TAGS: Final = 100_000 if IS_FULL else 5_000
SIZE: Final = 20
"""Rows of a page."""

MOST: Final = 30
"""Rows and blocks that a row of a page may cost: `old_links` looks at four other tables, each over an index of three
or four levels."""

REPETITIONS: Final = 7
"""PostgreSQL plans a prepared statement five times for its parameters, and then considers one plan for any."""

REPOSITORY: Final = "team/app"
FILL: Final = """
INSERT INTO repositories (name, listed) VALUES ('team/app', 1);
INSERT INTO repositories (name, listed) SELECT 'many/' || lpad(n::TEXT, 7, '0'), 1 FROM generate_series(1, {tags}) n;
INSERT INTO repositories (name, listed) SELECT 'zoo/' || n, 1 FROM generate_series(1, 50) n;
INSERT INTO manifests (repository_id, digest, media_type, kind, size, renewed, content)
    SELECT id, 'subject', 'a/b', 'other', 1, 5, 'x' FROM repositories WHERE name = 'team/app';
INSERT INTO manifests
    (repository_id, digest, media_type, kind, size, renewed, subject, artifact_type, annotations, content)
    SELECT m.repository_id, 'sha256:' || encode(sha256(n::TEXT::BYTEA), 'hex'), 'a/b', 'other', 1, 5, 'subject',
        'type-' || (n % 2), '{{}}', 'x' FROM manifests m, generate_series(1, {tags}) n;
INSERT INTO tags SELECT repository_id, 'tag-' || lpad(n::TEXT, 7, '0'), id
    FROM manifests, generate_series(1, {tags}) n WHERE digest = 'subject';
INSERT INTO copies (digest, size, content) SELECT 'sha256:' || encode(sha256(n::TEXT::BYTEA), 'hex'), 1, 'x'
    FROM generate_series(1, {links}) n;
INSERT INTO copies (digest, size, content, idle_since)
    SELECT 'sha512:' || n, 1, 'x', 5 FROM generate_series(1, {tags}) n;
INSERT INTO links SELECT r.id, c.id, 5 FROM copies c, repositories r
    WHERE c.idle_since IS NULL AND r.name = 'team/app';
INSERT INTO refs SELECT m.id, c.digest, m.repository_id FROM copies c, manifests m
    WHERE c.idle_since IS NULL AND m.digest = 'subject';
INSERT INTO uploads SELECT lpad(to_hex(n), 32, '0'), r.id, 'sha256', 0, '', 5
    FROM generate_series(1, {tags}) n, repositories r WHERE r.name = 'team/app';
"""
"""Everything is of the same second, as after the import of another registry."""


class Explained(PostgreSQL):
    """Adds up what reads cost. `connection` belongs to the test."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        super().__init__(url)
        self._own = connection
        self.cost = self.rows = 0

    async def one(self, statement: str, *parameters: Any) -> Any:
        return await self._own.fetchrow(statement, *parameters)

    async def read(self, transaction: Transaction[Any]) -> Any:
        return await drive(self._explain, transaction)

    async def _explain(self, text: str, *parameters: Any) -> list[Any]:
        costs = []
        literals = ", ".join(map(literal, parameters))
        await self._own.execute(f"PREPARE explained AS {text}")
        for times in (1, REPETITIONS):
            for _ in range(times):
                answer = await self._own.fetchval(
                    f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained({literals})"
                )
            costs.append(cost_of(json.loads(answer)[0]["Plan"]))
        await self._own.execute("DEALLOCATE explained")
        rows: list[Any] = await self._own.fetch(text, *parameters)
        self.cost += max(costs)
        self.rows += len(rows)
        return rows


def literal(value: str | int | bytes) -> str:
    if isinstance(value, bytes):
        return rf"'\x{value.hex()}'"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def cost_of(plan: dict[str, Any]) -> int:
    """Blocks that a plan has read, and rows that its parts have read."""
    blocks: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return blocks + rows_of(plan)


def rows_of(plan: dict[str, Any]) -> int:
    read = plan["Actual Rows"] + sum(count for name, count in plan.items() if name.startswith("Rows Removed"))
    return int(read * plan["Actual Loops"]) + sum(map(rows_of, plan.get("Plans", ())))


@pytest.fixture(scope="module")
def filled() -> str:
    """A database with many rows."""
    url = postgres.create("pages")
    postgres.run_aside(_fill(url))
    return url


async def _fill(url: str) -> None:
    database = PostgreSQL(url)
    await database.open()
    await database.close()
    connection = await asyncpg.connect(url)
    await connection.execute(FILL.format(tags=TAGS, links=LINKS))
    await connection.execute("ANALYZE")  # as autovacuum does within a minute
    await connection.close()


@pytest.fixture
async def explained(filled: str) -> AsyncIterator[Explained]:
    connection = await asyncpg.connect(filled)
    database = Explained(filled, connection)
    await database.open()
    yield database
    await database.close()
    await connection.close()


async def listed(names: AsyncIterator[Any]) -> int:
    async with aclosing(names) as each:  # type: ignore[type-var]
        return len([name async for name in each])


async def test_no_page_grows_with_the_registry(explained: Explained, tmp_path: Path) -> None:
    store = Store(tmp_path / "data", database=explained)
    rights = Rule(anonymous=True, repositories=("many/00001*", "zoo/*"), allow=("pull",))
    guarded = Guard(store, Rules([rights]), UploadOwners([b"key"]))
    repository, copy, digest = await places(explained)

    def read(transaction: Transaction[list[Any]]) -> Awaitable[Any]:
        return explained.read(transaction)

    pages: dict[str, Callable[[], Awaitable[Any]]] = {
        "catalog": lambda: listed(store.repositories(start_after="many/0002500", limit=SIZE)),
        "catalog with rights": lambda: listed(guarded.repositories(start_after="many/0000150", limit=SIZE)),
        "tags": lambda: listed(store.tags(REPOSITORY, start_after="tag-0002500", limit=SIZE)),
        "last tags": lambda: listed(store.tags(REPOSITORY, start_after=f"tag-{TAGS - 3:07}", limit=SIZE)),
        "referrers": lambda: listed(store.referrers(REPOSITORY, "subject", start_after=digest, limit=SIZE)),
        "referrers of a type": lambda: listed(
            store.referrers(REPOSITORY, "subject", "type-1", start_after=digest, limit=SIZE)
        ),
        "referrers of another type": lambda: listed(store.referrers(REPOSITORY, "subject", "type-2", limit=SIZE)),
        "links": lambda: read(collecting.old_links(9, (5, repository, copy), SIZE)),
        "new links": lambda: read(collecting.old_links(5, (-1, -1, -1), SIZE)),
        "uploads": lambda: read(collecting.abandoned_uploads(9, (5, "0" * 28 + "0800"), SIZE)),
        "idle copies": lambda: read(collecting.idle_copies(9, (5, LINKS + TAGS // 2), SIZE)),
        "first idle copies": lambda: read(collecting.idle_copies(9, (-1, -1), SIZE)),
        "new idle copies": lambda: read(collecting.idle_copies(5, (-1, -1), SIZE)),
        "blobs of a repository": lambda: read(holdings.blobs_after(REPOSITORY, copy, SIZE)),
        "manifests of a repository": lambda: read(holdings.manifests_after(REPOSITORY, digest, SIZE)),
    }
    costs = {}
    for name, page in pages.items():
        explained.cost = explained.rows = 0
        await page()
        costs[name] = explained.cost, explained.rows
    assert {name: cost for name, cost in costs.items() if cost[0] > MOST * (cost[1] + 4)} == {}


async def places(explained: Explained) -> tuple[int, int, str]:
    """The repository, a copy and a digest in the middle."""
    (repository,) = await explained.one("SELECT id FROM repositories WHERE name = 'team/app'")
    (copy,) = await explained.one("SELECT id FROM copies WHERE idle_since IS NULL ORDER BY id OFFSET $1", LINKS // 2)
    (digest,) = await explained.one(
        "SELECT digest FROM manifests WHERE subject IS NOT NULL ORDER BY digest OFFSET $1", TAGS // 2
    )
    return repository, copy, digest
