"""What two transactions do to each other, in every order of their statements."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import asyncpg
import pytest

from ociserver import OCIError
from ociserver.store.postgres import PostgreSQL
from tests.store.postgres.interleaving import Make, Outcome, interleaved
from tests.store.postgres.races import RACES, Race, Registry
from tests.support import postgres

pytestmark = pytest.mark.anyio


async def failures(
    url: str, race: Race, registry: Registry, *, swapped: bool, row_locks: bool = True
) -> AsyncGenerator[Outcome]:
    """The orders in which a race is lost."""

    async def prepare() -> tuple[Make, Make]:
        await registry.run(postgres.EMPTY)
        first, second = await race.prepare(registry)
        return (second, first) if swapped else (first, second)

    async with aclosing(interleaved(url, prepare, row_locks=row_locks)) as outcomes:
        async for ran in outcomes:
            outcome = replace(ran, first=ran.second, second=ran.first) if swapped else ran
            is_lost = is_failure(outcome.first) or is_failure(outcome.second)
            if is_lost or not await race.holds(registry, outcome):
                yield outcome


def is_failure(result: object) -> bool:
    """Whether a result is an error that a client does not understand, such as 500."""
    is_refusal = isinstance(result, OCIError) and (result.status or 400) < 500
    return isinstance(result, BaseException) and not is_refusal


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
async def test_nothing_is_lost(
    url: str, database: PostgreSQL, connection: asyncpg.Connection, race: Race, *, swapped: bool
) -> None:
    async for lost in failures(url, race, Registry(database, connection), swapped=swapped):
        pytest.fail(str(lost))


@pytest.mark.parametrize("race", [race for race in RACES if race.locks], ids=lambda race: race.name)
async def test_it_is_lost_without_locks(
    url: str, database: PostgreSQL, connection: asyncpg.Connection, race: Race
) -> None:
    """So the test above finds it."""
    registry = Registry(database, connection)
    for swapped in (False, True):
        async with aclosing(failures(url, race, registry, swapped=swapped, row_locks=False)) as lost:
            async for _ in lost:
                return
    pytest.fail("nothing was lost")
