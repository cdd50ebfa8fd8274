"""What is passed on is hashed beside it, within bounds."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from ociserver.client import verification as verification_module
from ociserver.client.verification import FEW, MOST, Verification

pytestmark = pytest.mark.anyio

PIECE = os.urandom(256 * 1024)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
@pytest.mark.parametrize("size", [1, 1000, len(PIECE)])
async def test_the_digest_is_that_of_all_pieces(count: int, size: int) -> None:
    verification = Verification("sha512")
    for _ in range(count):
        await verification.add(PIECE[:size])
    assert await verification.digest() == f"sha512:{hashlib.sha512(PIECE[:size] * count).hexdigest()}"


async def test_whoever_adds_too_much_waits() -> None:
    verification = Verification("sha512")
    adding = asyncio.ensure_future(verification.add(bytes(100 * MOST)))
    await asyncio.sleep(0)
    assert not adding.done()
    await adding


async def test_whoever_goes_away_is_not_waited_for() -> None:
    verification = Verification("sha512")
    adding = asyncio.ensure_future(verification.add(bytes(100 * MOST)))
    await asyncio.sleep(0)
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert await verification.digest() == f"sha512:{hashlib.sha512(bytes(100 * MOST)).hexdigest()}"


async def test_a_few_may_have_more_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    async def noting(_worker: object, backlog: int) -> None:
        waits.append(backlog)

    monkeypatch.setattr(Verification, "_under_way", 0)  # those of other tests are never closed
    monkeypatch.setattr(verification_module, "wait_until_below", noting)
    many = [Verification("sha512") for _ in range(FEW + 1)]
    await many[0].add(bytes(2 * MOST))
    assert waits == [MOST // 2]
    for verification in many[1:] * 2:
        verification.close()
    await Verification("sha512").add(bytes(2 * MOST))
    assert waits == [MOST // 2]
