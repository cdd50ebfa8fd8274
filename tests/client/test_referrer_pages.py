"""Pages of referrers: streamed if they are in order, else sorted in memory within limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Handler, HTTPError, Memory
from ociserver.client import Client, Limits
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import (
    IMAGE,
    INDEX,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    index,
    push_manifest,
)
from tests.handler.driver import request
from tests.support.opened import Opened
from tests.support.remote import Remote

pytestmark = pytest.mark.anyio

SUBJECT = digest_of(b"subject")
DIGESTS = sorted(digest_of(b"%d" % number) for number in range(8))
PATH = f"/v2/project/referrers/{SUBJECT}"


def page(digests: Sequence[str], *, following: str = "", kind: str = "a/b", **headers: str) -> Reply:
    entries = [
        {"mediaType": IMAGE, "digest": digest, "size": 5, "artifactType": kind, "annotations": {"of": digest}}
        for digest in digests
    ]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    link = f"<{following}>; rel=next" if following else ""
    return Reply(200, {"Link": link, "Content-Type": INDEX, **headers}, json.dumps(document).encode())


def behind(digest: str, path: str = PATH) -> str:
    return f"{path}?last={digest.replace(':', '%3A')}"


async def listed(client: Client, **asked: Any) -> list[str]:
    return [entry.digest for entry in await collect(client.referrers("project", SUBJECT, **asked))]


async def test_pages_in_order_are_read_as_far_as_needed(client: Client, registry: Scripted) -> None:
    registry.will(page(DIGESTS[:3], following=behind(DIGESTS[2])), page(DIGESTS[3:6], following=behind(DIGESTS[5])))
    async with aclosing(client.referrers("project", SUBJECT)) as found:  # type: ignore[type-var]
        assert [(await anext(found)).digest for _ in range(3)] == DIGESTS[:3]
        assert len(registry.seen) == 1
        entry = await anext(found)
        assert (entry.digest, entry.annotations) == (DIGESTS[3], {"of": DIGESTS[3]})
        assert len(registry.seen) == 2
    assert len(registry.seen) == 2


async def test_pages_in_order_to_their_end(client: Client, registry: Scripted) -> None:
    registry.will(
        page(DIGESTS[:3], following=behind(DIGESTS[2])),
        page([], following=behind(DIGESTS[2], f"{PATH}/empty")),
        page(DIGESTS[3:], following=""),
    )
    assert await listed(client) == DIGESTS


async def test_entries_before_the_position_are_skipped(client: Client, registry: Scripted) -> None:
    """The first page shows the order. From then on, the client starts at the requested position."""
    following = f"{PATH}?token=a%2Fb&last={DIGESTS[1].replace(':', '%3A')}"
    registry.will(page(DIGESTS[:2], following=following), page(DIGESTS[6:]))
    assert await listed(client, start_after=DIGESTS[5]) == DIGESTS[6:]
    # The other parameters of the link belong to the registry.
    assert registry.lines[1] == f"GET {PATH}?token=a%2Fb&last={DIGESTS[5].replace(':', '%3A')}"
    registry.will(page(DIGESTS[3:4], following=behind(DIGESTS[3])), page(DIGESTS[4:]))
    assert await listed(client, start_after=DIGESTS[2]) == DIGESTS[3:]
    assert registry.lines[2:] == [f"GET {behind(DIGESTS[2])}", f"GET {behind(DIGESTS[3])}"]


async def test_a_list_that_is_not_in_order_unlike_the_last(client: Client, registry: Scripted) -> None:
    registry.will(page(DIGESTS[:2], following=behind(DIGESTS[1])), page(DIGESTS[2:]))
    assert await listed(client) == DIGESTS
    # The client starts again at the first page.
    registry.will(page(DIGESTS[:3]), page(DIGESTS[:3], following="/next"), page(DIGESTS[3:]))
    assert await listed(client, start_after=DIGESTS[1]) == DIGESTS[2:]
    assert registry.lines[2:] == [f"GET {behind(DIGESTS[1])}", f"GET {PATH}", "GET /next"]


@pytest.mark.parametrize(
    "first, following",
    [
        (DIGESTS[:2], "/v2/next"),
        (DIGESTS[:2], f"/v2/next?last={DIGESTS[0]}"),
        ([DIGESTS[1], DIGESTS[0]], f"/v2/next?last={DIGESTS[0]}"),
        ([DIGESTS[0], DIGESTS[0]], f"/v2/next?last={DIGESTS[0]}"),
        ([], "/v2/next?last="),
    ],
    ids=["another position", "not the last", "not sorted", "twice", "empty"],
)
async def test_pages_in_another_order_are_sorted(
    client: Client, registry: Scripted, first: list[str], following: str
) -> None:
    registry.will(page(first, following=following), page([DIGESTS[5], *DIGESTS[:4]]))
    assert await listed(client, start_after=DIGESTS[0]) == [*DIGESTS[1:4], DIGESTS[5]]


async def test_pages_that_lose_their_order(client: Client, registry: Scripted) -> None:
    """The entries so far cannot be taken back, and a part of the list would look complete."""
    registry.will(page(DIGESTS[2:4], following=behind(DIGESTS[3])), page(DIGESTS[:2]))
    async with aclosing(client.referrers("project", SUBJECT)) as found:  # type: ignore[type-var]
        assert [(await anext(found)).digest for _ in range(2)] == DIGESTS[2:4]
        with pytest.raises(HTTPError, match="not in the order") as caught:
            await anext(found)
    assert caught.value.status == 502


async def test_the_order_is_that_of_all_entries(client: Client, registry: Scripted) -> None:
    """Also if only some of the entries are requested, and the registry does not filter."""
    registry.will(page(DIGESTS[:3], following=behind(DIGESTS[2]), kind="other"), page(DIGESTS[3:]))
    async with aclosing(client.referrers("project", SUBJECT, "a/b")) as found:  # type: ignore[type-var]
        assert (await anext(found)).digest == DIGESTS[3]


@pytest.mark.parametrize("limits", [Limits(max_referrers=3), Limits(max_referrers_size=1000)], ids=["entries", "bytes"])
async def test_a_list_that_is_sorted_in_memory_is_bounded(registry: Scripted, limits: Limits) -> None:
    async with Client(registry.url, limits=limits) as client:
        await check_bounds(client, registry)


async def check_bounds(client: Client, registry: Scripted) -> None:
    registry.will(page(DIGESTS[4:6], following="/v2/next"), page(DIGESTS[:2], following="/v2/more"))
    with pytest.raises(HTTPError, match="the registry lists more than") as caught:
        await listed(client)
    assert caught.value.status == 502
    assert len(registry.seen) == 2
    # The limit does not apply to pages that are in order.
    registry.will(page(DIGESTS[:4], following=behind(DIGESTS[3])), page(DIGESTS[4:]))
    assert await listed(client) == DIGESTS


async def test_a_push_requests_at_most_one_page(client: Client, registry: Scripted) -> None:
    """The client only has to know whether the registry has the API."""
    registry.will(Reply(201), page(DIGESTS[:2], following=behind(DIGESTS[1])))
    content = index(subject=descriptor(IMAGE, b"subject"))
    await push_manifest(client, content, INDEX, repository="project")
    assert [seen.method for seen in registry.seen] == ["PUT", "GET"]


async def test_a_server_in_front_has_the_same_pages() -> None:
    """Each page costs one page of the inner registry, and the next one, which shows that there is one."""
    async with Remote(Memory()) as remote:
        pushed = []
        for number in range(6):
            annotations = {"number": str(number), "text": "x" * 1_500_000}
            content = index(subject=descriptor(IMAGE, b"subject"), annotations=annotations)
            await push_manifest(remote, content, INDEX)
            pushed.append(digest_of(content))
        application = Handler(Opened(remote.inner))
        target: str | None = f"/v2/{REPOSITORY}/referrers/{SUBJECT}"
        found = []
        while target:
            reply = await request(application, "GET", target)
            assert len(reply.body) <= 4 << 20
            found.append([entry["digest"] for entry in reply.json()["manifests"]])
            target = next((link[1:].partition(">")[0] for link in reply.all("link")), None)
        assert found == [sorted(pushed)[start : start + 2] for start in (0, 2, 4)]
