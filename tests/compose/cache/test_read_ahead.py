"""Received bytes are readable before they are written, and their number in memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ociserver.compose.cache.read_ahead import MOST, ReadAhead

pytestmark = pytest.mark.anyio

PIECE = 100 * 1024


async def pieces(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * PIECE


async def test_received_bytes_are_readable_until_they_are_dropped() -> None:
    came: list[int] = []
    async with ReadAhead(pieces(3), came.append) as ahead:
        await ahead.begun()
        assert came[0] == PIECE
        assert ahead.read(0, 10) == bytes(10)
        written = b"".join([data async for data in ahead])
        assert written == b"".join(bytes([number]) * PIECE for number in range(3))
        assert came == [PIECE, 2 * PIECE, 3 * PIECE]
        # A read ends at the end of the piece in which it begins.
        assert ahead.read(PIECE - 5, 10) == bytes(5)
        assert ahead.read(2 * PIECE, PIECE) == b"\2" * PIECE
        assert ahead.read(3 * PIECE, 1) == b""
        ahead.drop(2 * PIECE + 1)
        assert ahead.read(2 * PIECE - 1, 1) == b""
        assert ahead.read(2 * PIECE, 1) == b"\2"


async def test_a_slow_writer_makes_the_sender_wait() -> None:
    came: list[int] = []
    async with ReadAhead(pieces(100), came.append) as ahead:
        await ahead.begun()
        await asyncio.sleep(0.02)
        assert MOST <= came[-1] < MOST + PIECE
        total, largest = 0, 0
        async for data in ahead:
            total, largest = total + len(data), max(largest, len(data))
            ahead.drop(total)
            await asyncio.sleep(0.001)
            assert came[-1] - total < MOST + PIECE
    assert total == 100 * PIECE
    # The pieces that arrived in the meantime are joined: few writes.
    assert largest > PIECE


async def test_an_error_follows_the_bytes_before_it() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise ConnectionResetError

    async with ReadAhead(broken(), lambda count: None) as ahead:
        given = aiter(ahead)
        assert await anext(given) == b"first"
        with pytest.raises(ConnectionResetError):
            await anext(given)


async def test_receiving_ends_with_the_writer() -> None:
    came: list[int] = []
    gate = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await gate.wait()
        yield b"y"

    async with ReadAhead(endless(), came.append) as ahead:
        await ahead.begun()
    gate.set()
    await asyncio.sleep(0.01)
    assert came == [1]
