"""What `ociserver config check --connect` says about a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from ociserver.store.external import Database
from ociserver.store.postgres_trial import try_database
from tests.support.postgres import Cluster, run_aside, shared

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An empty database, with users of few rights."""
    cluster = Cluster("fsync=off")
    try:
        made = cluster.create("trial")
        rules = cluster.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
        run_aside(
            _execute(
                made,
                "CREATE ROLE guest LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE locked LOGIN PASSWORD 'right';"
                "GRANT CREATE ON SCHEMA public TO reader, locked; REVOKE CREATE ON SCHEMA public FROM PUBLIC;"
                "ALTER ROLE reader SET default_transaction_read_only = on; SELECT pg_reload_conf()",
            )
        )
        yield made
    finally:
        cluster.close()


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def found(url: str, processes: int = 1, *, max_clock_s: float = 3600, **settings: Any) -> list[tuple[str, str]]:
    database = replace(Database(url=url), **settings)
    return [each async for each in try_database(database, processes, max_clock_s=max_clock_s)]


async def test_a_database_that_can_be_used_stays_empty(url: str) -> None:
    for _ in range(2):
        ((kind, text),) = await found(url)
        assert kind == "fact"
        assert text.startswith("PostgreSQL ")
        assert text.endswith("in which the server will create its tables")
        assert "host=" not in text


async def test_a_database_with_a_registry() -> None:
    ((kind, text),) = await found(shared())
    assert (kind, text.endswith("which has a registry")) == ("fact", True)


@pytest.mark.parametrize(
    "user, settings, words",
    [
        ("guest", {}, "the user may not create tables. Make it the owner of the database, or run `GRANT CREATE"),
        ("reader", {}, "the server is a standby, which only reads. Write the address of the primary into `database`"),
        ("locked", {"password": "wrong"}, "refuses the user or the password. Correct the user in `database`, and"),
        ("nobody", {}, "refuses the user or the password"),
    ],
)
async def test_a_user_that_cannot_use_it(url: str, user: str, settings: dict[str, Any], words: str) -> None:
    ((kind, text),) = await found(url.replace("registry@", f"{user}@"), **settings)
    assert kind == "fault"
    assert words in text
    assert "wrong" not in text


async def test_a_password_of_its_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at = url.replace("registry@", "locked@")
    assert [kind for kind, _ in await found(at, password="right")] == ["fact"]
    assert [kind for kind, _ in await found(at.replace("locked@", "locked:wrong@"), password="right")] == ["fact"]
    monkeypatch.setenv("PGPASSWORD", "right")
    assert [kind for kind, _ in await found(at)] == ["fact"]


async def test_no_such_database(url: str) -> None:
    assert await found(url.replace("/trial", "/other")) == [
        ("fault", "the server has no such database. Create it with `createdb`, or correct its name in `database`")
    ]


@pytest.mark.parametrize(
    "at, words",
    [
        ("postgresql://a:hidden@127.0.0.1:1/b", "the server cannot be reached"),
        ("postgresql://a:hidden@no-such-host.invalid/b", "Correct host and port in `database`"),
        ("postgresql://a:hidden@127.0.0.1:port/b", "is not the URL of a database"),
    ],
)
async def test_no_server(at: str, words: str) -> None:
    ((kind, text),) = await found(at)
    assert kind == "fault"
    assert words in text
    assert "hidden" not in text


async def test_too_many_connections(url: str) -> None:
    _, (kind, text) = await found(url, 10)
    assert kind == "warning"
    assert "10 processes of this node may use 100 connections, but the server has 60" in text
    assert len(await found(url, 10, max_connections=5)) == 1
    assert len(await found(url, 10, is_pooled=True)) == 1


async def test_clocks_that_differ(url: str) -> None:
    _, (kind, text) = await found(url, max_clock_s=-1)
    assert kind == "warning"
    assert "the clocks of this machine and of the database differ by" in text
