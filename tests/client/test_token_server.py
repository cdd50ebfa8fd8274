"""A token server that does not answer: the client asks as often as configured, and does not repeat the request."""

from __future__ import annotations

import asyncio

import pytest

from ociserver.client import Client, RetryPolicy, UnreachableError
from ociserver.client.auth.negotiated import SILENT_FOR_S
from tests.client.hostile import good
from tests.client.scripted import Reply, scripted

pytestmark = pytest.mark.anyio

ATTEMPTS = 3


async def test_attempts_do_not_multiply() -> None:
    async with scripted() as registry, scripted() as tokens:
        challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.url}/token",service="registry"'}
        registry.otherwise = lambda seen: good(seen) if "authorization" in seen.headers else Reply(401, challenge)
        tokens.otherwise = lambda _: Reply(200, {}, b'{"token":"a","expires_in":1}')
        async with Client(registry.url, retries=RetryPolicy(attempts=ATTEMPTS, backoff_s=0.001)) as client:
            await client.get_tag("library/app", "latest")
            tokens.otherwise = lambda _: Reply(None)
            # First the client fetches a token ahead of the request, and then only if the registry asks for one.
            for _ in range(2):
                registry.seen.clear()
                tokens.seen.clear()
                with pytest.raises(UnreachableError, match=r"the token server of .* cannot be used"):
                    await client.get_tag("library/app", "latest")
                assert (len(registry.seen), len(tokens.seen)) == (1, ATTEMPTS)
                await asyncio.sleep(SILENT_FOR_S)
            tokens.otherwise = lambda _: Reply(200, {}, b'{"token":"a"}')
            await client.get_tag("library/app", "latest")
