"""A registry that sends scripted answers, and a client with short pauses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ociserver.client import Client, RetryPolicy
from tests.client.scripted import Scripted, scripted

HURRIED = RetryPolicy(attempts=3, backoff_s=0.001, max_wait_s=2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def registry() -> AsyncIterator[Scripted]:
    async with scripted() as script:
        yield script


@pytest.fixture
async def elsewhere() -> AsyncIterator[Scripted]:
    """Another host."""
    async with scripted() as script:
        yield script


@pytest.fixture
async def client(registry: Scripted) -> AsyncIterator[Client]:
    async with Client(registry.url, retries=HURRIED) as client:
        yield client
