"""A sample project with asyncio. The registry answers while the event loop of the test is busy, and the reverse."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from ociserver.testing import Registry

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_pulls_at_the_same_time(oci_registry: Registry) -> None:
    image = oci_registry.image("app", "v1")
    async with httpx.AsyncClient(base_url=oci_registry.url, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get("/v2/app/manifests/v1") for _ in range(10)))
    assert {answer.content for answer in answers} == {image.content}
    assert [request.kind for request in oci_registry.requests] == ["manifest_get"] * 10
