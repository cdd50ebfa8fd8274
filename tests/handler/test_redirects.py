"""Which clients are redirected, and which get the bytes."""

from __future__ import annotations

import pytest

from ociserver import Handler, Memory, Options
from ociserver.interface import Url
from tests.contract.contents import REPOSITORY, push_blob
from tests.handler.driver import Reply, request

pytestmark = pytest.mark.anyio

CONTENT = b"bytes"
ELSEWHERE = "https://bucket.example/object?signature=x"


class Located(Memory):
    """Its blobs are also elsewhere."""

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        await self.resolve_blob(repository, digest)
        return Url(ELSEWHERE)


async def get(
    client: str | None, headers: dict[str, str] | None = None, *, method: str = "GET", redirect_except: str = ""
) -> Reply:
    backend = Located()
    path = f"/v2/{REPOSITORY}/blobs/{await push_blob(backend, CONTENT)}"
    application = Handler(backend, Options(redirect_pulls=True, redirect_except=redirect_except))
    return await request(application, method, path, headers=headers, client=None if client is None else (client, 1))


@pytest.mark.parametrize(
    "networks, client, status",
    [
        ("", "10.1.2.3", 307),
        ("", None, 307),
        ("10.0.0.0/8", "10.1.2.3", 200),
        ("10.0.0.0/8", "11.1.2.3", 307),
        ("10.0.0.0/8, fd00::/8", "fd00::1", 200),
        ("10.0.0.0/8, fd00::/8", "fe80::1", 307),
        ("10.0.0.0/8", None, 200),
        ("10.0.0.0/8", "a-socket", 200),
    ],
)
async def test_networks(networks: str, client: str | None, status: int) -> None:
    reply = await get(client, redirect_except=networks)
    assert (reply.status, reply.body) == (status, b"" if status == 307 else CONTENT)
    assert reply.all("location") == ([ELSEWHERE] if status == 307 else [])


@pytest.mark.parametrize("value, status", [("no", 200), ("No", 200), ("yes", 307), ("", 307)])
async def test_a_client_can_refuse(value: str, status: int) -> None:
    assert (await get("10.1.2.3", {"ociserver-redirect": value})).status == status


async def test_head_is_never_redirected() -> None:
    """A signed URL is for GET only."""
    assert (await get("10.1.2.3", method="HEAD")).status == 200


def test_what_is_not_a_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"redirect_except must be addresses or networks"):
        Options(redirect_except="10.0.0.1/8")
