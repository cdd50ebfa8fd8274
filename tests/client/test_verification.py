"""Bodies are hashed while they are passed on, with a bounded backlog."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from ociserver.client.verification import FEW, MAX_BACKLOG, MAX_BACKLOG_OF_FEW, ActiveBodies, Verification

pytestmark = pytest.mark.anyio

PIECE = os.urandom(256 * 1024)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
@pytest.mark.parametrize("size", [1, 1000, len(PIECE)])
async def test_the_digest_is_that_of_all_pieces(count: int, size: int) -> None:
    verification = Verification("sha512")
    for _ in range(count):
        await verification.add(PIECE[:size])
    assert await verification.digest() == f"sha512:{hashlib.sha512(PIECE[:size] * count).hexdigest()}"


async def test_add_waits_while_the_backlog_is_too_large() -> None:
    verification = Verification("sha512")
    adding = asyncio.ensure_future(verification.add(bytes(100 * MAX_BACKLOG)))
    await asyncio.sleep(0)
    assert not adding.done()
    await adding


async def test_a_cancelled_add_loses_no_bytes() -> None:
    verification = Verification("sha512")
    adding = asyncio.ensure_future(verification.add(bytes(100 * MAX_BACKLOG)))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert await verification.digest() == f"sha512:{hashlib.sha512(bytes(100 * MAX_BACKLOG)).hexdigest()}"


def test_a_few_bodies_get_a_larger_backlog() -> None:
    active = ActiveBodies()
    many = [Verification("sha512", active) for _ in range(FEW + 1)]
    assert active.max_backlog == MAX_BACKLOG
    for verification in many[1:] * 2:  # a second close changes nothing
        verification.close()
    assert (active.count, active.max_backlog) == (1, MAX_BACKLOG_OF_FEW)
